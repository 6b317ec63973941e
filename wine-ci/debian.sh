# shellcheck shell=bash
# All of wine-ci/test on another release of Debian: in a root of that release (.cache/debian-<suite>/), with that release's
# compilers, Meson, cmocka and Wine. Sourced by lib.sh.
#
# In the root, a folder with the repository's path shows what the repository holds but for .cache and build*: these are the
# root's own. Programs run in namespaces of their own, mounts and processes: both end with the first of them, whatever
# happens, so there is nothing to unmount and no wineserver is left.

MI_DEBIAN_SUITES=(trixie)
# What debootstrap adds to a minimal system; the rest is installed by wine-ci/setup in there.
MI_DEBIAN_PACKAGES=(ca-certificates git util-linux)
# shellcheck disable=SC2034 # setup and test show it
MI_DEBIAN_REMEDY='run it as root on a machine, or in a container, that may mount (docker run --privileged, say); elsewhere
        leave --debian away'

debian_known() {
  local suite
  for suite in "${MI_DEBIAN_SUITES[@]}"; do [ "$suite" != "$1" ] || return 0; done
  return 1
}

# The mirror that this machine's apt uses for the main suite of its own release.
debian_mirror() {
  # shellcheck disable=SC2016 # apt expands the names
  apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
    awk -F'|' '$1 == "Packages" && $2 == "Debian" && $5 == "main" && $4 !~ /-/ { print $3; exit }' | grep .
}

debian_home() { printf '%s\n' "$MI_CACHE/debian-$1"; }

# True when the root is there and up to date. The file is written last, before the root is moved to its place.
debian_ready() { [ "$(cat "$(debian_home "$1")/root/etc/mimalloc-root" 2>/dev/null)" = "$(debian_recipe "$1")" ]; }

debian_recipe() { printf '%s\n' "$1" "${MI_DEBIAN_PACKAGES[@]}"; }

# debian_enter ROOT [FOLDER]: sets MI_ENTER, the head of a command line that runs a program in the root: in / or, given
# the repository's folder, there. Downloads that are checked against pins are shared.
# shellcheck disable=SC2016 # the inner shell expands
debian_enter() {
  MI_ENTER=(unshare --mount --pid --fork --kill-child --propagation private -- /bin/sh -ec '
    root=$1 top=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    if [ -n "$top" ]; then
      mkdir -p "$root$top"
      for entry in "$top"/* "$top"/.[!.]*; do
        case ${entry##*/} in .cache | build | build-*) continue ;; esac
        [ -e "$entry" ] || continue
        if [ -d "$entry" ]; then mkdir -p "$root$entry"; else : >>"$root$entry"; fi
        mount --bind "$entry" "$root$entry"
      done
      mkdir -p "$top/.cache/programs" "$root$top/.cache/programs"
      mount --bind "$top/.cache/programs" "$root$top/.cache/programs"
    fi
    exec chroot "$root" /usr/bin/env -i -C "${top:-/}" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
      CI="${CI:-}" http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" "$@"' \
    enter "$1" "${2:-}")
}

# True when this user may do what debian_enter does. Says why not otherwise.
debian_may_enter() {
  i386_may_mount || return 1
  unshare --pid --fork --kill-child -- true 2>/dev/null || {
    echo "this machine or container lets root make no namespace of processes"
    return 1
  }
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
  debian_enter "$part"
  "${MI_ENTER[@]}" apt-get -q update
  "${MI_ENTER[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
    "${MI_DEBIAN_PACKAGES[@]}"
  debian_recipe "$1" >"$part/etc/mimalloc-root"
  mv "$part" "$home/root"
}
