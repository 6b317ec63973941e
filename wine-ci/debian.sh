# shellcheck shell=bash
# All of wine-ci/test on another release of Debian: in a root of that release (.cache/debian-<suite>/), with that release's
# compilers, Meson, cmocka and Wine. Sourced by lib.sh.
#
# In the root the repository lies at the path it has outside, but .cache and the build folders are the root's own. Programs
# run in namespaces of their own, mounts and processes: both end with the first of them, whatever happens, so there is nothing
# to unmount and no wineserver is left.

MI_DEBIAN_SUITES=(trixie)
# What debootstrap adds to a minimal system; the rest is installed by wine-ci/setup in there.
MI_DEBIAN_PACKAGES=(ca-certificates git util-linux)
MI_DEBIAN_BUILDS=(build build-native build-asan build-i686 build-ucrt64)
MI_DEBIAN_REMEDY='run it as root on a machine, or in a container, that may mount (docker run --privileged, say); elsewhere
        leave --debian away'

debian_home() { printf '%s\n' "$MI_CACHE/debian-$1"; }

# True when the root is there and up to date. The file is written last, before the root is moved to its place.
debian_ready() { [ "$(cat "$(debian_home "$1")/root/etc/mimalloc-root" 2>/dev/null)" = "$(debian_recipe "$1")" ]; }

debian_recipe() { printf '%s\n' "$1" "${MI_DEBIAN_PACKAGES[@]}"; }

# debian_enter ROOT HOME: sets MI_ENTER, the head of a command line that runs a program in the root, in the repository's
# folder. With an empty HOME without the repository, in /. Downloads that are checked against pins are shared.
# shellcheck disable=SC2016 # the inner shell expands
debian_enter() {
  MI_ENTER=(unshare --mount --pid --fork --kill-child --propagation private -- /bin/sh -ec '
    root=$1 home=$2 top=$3 builds=$4
    shift 4
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    folder=/
    if [ -n "$home" ]; then
      folder=$top
      mkdir -p "$root$top" "$home/cache/programs" "$top/.cache/programs"
      mount --rbind "$top" "$root$top"
      mount --bind "$home/cache" "$root$top/.cache"
      mount --bind "$top/.cache/programs" "$root$top/.cache/programs"
      for build in $builds; do
        mkdir -p "$home/$build" "$top/$build"
        mount --bind "$home/$build" "$root$top/$build"
      done
    fi
    exec chroot "$root" /usr/bin/env -i -C "$folder" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
      CI="${CI:-}" http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" "$@"' \
    enter "$1" "$2" "$MI_ROOT" "${MI_DEBIAN_BUILDS[*]}")
}

# debootstrap mounts /proc in the root; in a namespace of its own, that can't outlive it. It also copies the
# machine's resolv.conf. The mirror is the one that this machine's apt uses for its own release.
debian_make() { # suite uri
  local home part
  home=$(debian_home "$1")
  part=$home/root.part
  mkdir -p "$home"
  rm -rf --one-file-system "$part" "$home/root"
  unshare --mount --propagation private -- debootstrap --arch=amd64 --variant=minbase "$1" "$part" "$2"
  cp /etc/hosts "$part/etc/hosts"
  debian_enter "$part" ''
  "${MI_ENTER[@]}" apt-get -q update
  "${MI_ENTER[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
    "${MI_DEBIAN_PACKAGES[@]}"
  debian_recipe "$1" >"$part/etc/mimalloc-root"
  mv "$part" "$home/root"
}
