# shellcheck shell=bash
# 32-bit Wine, in a Debian i386 root of its own (.cache/i386): Debian's amd64 Wine runs no 32-bit program, and
# wine32 does not install beside it everywhere. Sourced by lib.sh.
#
# Every program that enters the root does so in a mount namespace of its own. Its mounts are seen by nobody else
# and the kernel undoes them with the namespace's last process, however that ends: there is nothing to unmount,
# not even after a kill -9.

MI_I386=$MI_CACHE/i386
MI_I386_PACKAGES=(wine wine32)
MI_I386_REMEDY='run it as root on a machine, or in a container, that may mount (docker run --privileged, say); elsewhere
        leave --arch i686 away'

# How long the 32-bit wineserver lingers, in seconds; wine-ci/test ends it at once.
MI_I386_LINGER=60

# True when the root is there and up to date. The file is written last, before the root is moved to its place.
i386_ready() { [ "$(cat "$MI_I386/etc/mimalloc-root" 2>/dev/null)" = "$(i386_recipe)" ]; }

# What the root was made of: it is made afresh when that changes.
i386_recipe() { printf '%s\n' "${MI_I386_PACKAGES[@]}"; }

# Folders that are seen in the root under the paths they have outside: the repository and /tmp.
i386_shows() {
  case $1/ in
    "$MI_ROOT"/* | /tmp/*) ;;
    *) return 1 ;;
  esac
}

# i386_enter ROOT FOLDER: sets MI_ENTER, the head of a command line that runs a program in that root and in that
# folder. It is one process from unshare to the program, so a signal or a time limit reaches the program. MinGW's
# folders are shown for the DLLs in them, which programs under test may need.
# The wineserver opens files for the programs, as its namespace shows them: so all get the same mounts.
# shellcheck disable=SC2016 # the inner shell expands
i386_enter() {
  MI_ENTER=(unshare --mount --propagation private -- /bin/sh -ec '
    root=$1 top=$2 folder=$3
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /tmp "$root/tmp"
    for shown in "$top" /usr/i686-w64-mingw32 /usr/lib/gcc/i686-w64-mingw32; do
      [ -d "$shown" ] || continue
      [ -d "$root$shown" ] || mkdir -p "$root$shown"
      mount --bind "$shown" "$root$shown"
    done
    exec chroot "$root" /usr/bin/env -C "$folder" "$@"' enter "$1" "$MI_ROOT" "$2")
}

# True when this user may do what i386_enter does. Says why not otherwise.
i386_may_mount() {
  [ "$(id -u)" -eq 0 ] || {
    echo "only root may enter a Debian root and mount /proc there; this is $(id -un)"
    return 1
  }
  local probe=$MI_CACHE/i386.probe rc=0
  mkdir -p "$probe"
  # shellcheck disable=SC2016 # the inner shell expands
  timeout 30 unshare --mount --propagation private -- /bin/sh -ec '
    mount -t proc proc "$1"
    mount --rbind /dev "$1"' probe "$probe" || rc=$?
  rmdir "$probe"
  [ "$rc" -eq 0 ] || echo "this machine or container does not let root mount /proc in a namespace of its own"
  return "$rc"
}
