# shellcheck shell=bash disable=SC2034
# What the scripts of wine-ci/ share. Sourced, never run. Set `set -euo pipefail` first.
#
# Everything that a script creates outside the build folders lies in .cache/ at the top of the
# repository: downloads, the cross-built cmocka, Wine's prefix, logs.

MI_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
MI_CACHE=$MI_ROOT/.cache
MI_LOGS=$MI_CACHE/logs
MI_PYTHON=/usr/bin/python3 # not whatever python3 the user has put first

# System tools first: a meson or python of the user's own may be another version.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1

# How long wineserver lingers after the last Windows program, in seconds. It goes by itself.
MI_WINESERVER_LINGER=600

say() { printf '%s\n' "$*"; }

# die WHAT REMEDY: one message that names the cause, one that says what to do.
die() {
  printf '\nerror: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf 'remedy: %s\n' "$2" >&2
  exit 1
}

# --- one script at a time ----------------------------------------------------------------------

# run_locked NAME SCRIPT ARGS...: starts the script again with the lock held. flock closes the lock's
# descriptor before it runs the command, so no daemon (wineserver) can inherit and keep it.
run_locked() {
  local name=$1 rc=0
  shift
  local held=MI_LOCK_$name
  [ -z "${!held:-}" ] || return 0
  command -v flock >/dev/null || die "flock is missing" "install the package util-linux"
  mkdir -p "$MI_CACHE"
  export "$held=1"
  flock --close -n -E 99 "$MI_CACHE/$name.lock" "$@" || rc=$?
  if [ "$rc" -eq 99 ]; then
    say "another run holds .cache/$name.lock: waiting for it to end"
    rc=0
    flock --close "$MI_CACHE/$name.lock" "$@" || rc=$?
  fi
  exit "$rc"
}

# --- steps ---------------------------------------------------------------------------------------

MI_STEP=0
MI_STEP_PID=

# steps_begin COUNT [PREFIX]: the script announces COUNT steps.
steps_begin() {
  MI_STEPS=$1
  MI_STEP_PREFIX=${2:-}
  MI_STEP_FORMAT="[${MI_STEP_PREFIX}%2d/%d] "
  mkdir -p "$MI_LOGS"
  trap mi_interrupted INT TERM HUP
}

mi_interrupted() {
  trap - INT TERM HUP
  [ -z "$MI_STEP_PID" ] || kill -- "-$MI_STEP_PID" 2>/dev/null || true
  printf '\ninterrupted\n' >&2
  exit 130
}

# elapsed START: seconds since $EPOCHREALTIME was START, with one decimal.
elapsed() {
  local now=$EPOCHREALTIME
  local us=$((${now/[.,]/} - ${1/[.,]/}))
  printf '%d.%d' $((us / 1000000)) $((us % 1000000 / 100000))
}

step_line() { printf "$MI_STEP_FORMAT"'%-44s %s\n' "$MI_STEP" "$MI_STEPS" "$1" "$2"; }

# step_done TITLE RESULT: a step that took no time worth a log.
step_done() {
  MI_STEP=$((MI_STEP + 1))
  step_line "$1" "$2"
}

# step_run TITLE LOG COMMAND...: runs a command with its output in .cache/logs/LOG.log and shows how far it
# is, from the last "7/12" in that log. Leaves the command's exit code in MI_STEP_RC (it returns 0 always)
# and the log's name in MI_STEP_LOG. Never call it, nor a caller of it, as a condition: bash would ignore
# `set -e` in COMMAND. The output goes to a file, not a pipe: a background service of Wine that inherited a
# pipe would keep it open.
step_run() {
  local title=$1 start=$EPOCHREALTIME shown='' next=10 count
  MI_STEP_RC=0
  (false; exit 99) & wait $! || MI_STEP_RC=$?
  [ "$MI_STEP_RC" -ne 99 ] || die "internal: step_run was called as a condition" ""
  MI_STEP_RC=0
  MI_STEP_LOG=$MI_LOGS/$2.log
  shift 2
  MI_STEP=$((MI_STEP + 1))
  set -m # own process group, so that an interrupt can end the whole step
  "$@" >"$MI_STEP_LOG" 2>&1 </dev/null &
  MI_STEP_PID=$!
  set +m
  SECONDS=0
  local nap=0.02
  while kill -0 "$MI_STEP_PID" 2>/dev/null; do
    sleep "$nap"
    nap=0.2
    if [ -t 1 ] || [ "$SECONDS" -ge "$next" ]; then
      count=$(step_progress "$MI_STEP_LOG")
      if [ -t 1 ]; then
        [ "$count" = "$shown" ] || printf '\r\033[K'"$MI_STEP_FORMAT"'%s: %s' "$MI_STEP" "$MI_STEPS" "$title" "$count"
        shown=$count
      else
        next=$((SECONDS + 10))
        say "        $title: ${count:-running}, $SECONDS s"
      fi
    fi
  done
  wait "$MI_STEP_PID" || MI_STEP_RC=$?
  MI_STEP_PID=
  [ ! -t 1 ] || printf '\r\033[K'
  if [ "$MI_STEP_RC" -eq 0 ]; then
    step_line "$title" "ok      $(elapsed "$start") s"
  else
    step_line "$title" "FAILED  $(elapsed "$start") s (exit code $MI_STEP_RC)"
  fi
}

# The last "7/12" of a log: ninja and meson test print it on every line. Nothing when there is none.
step_progress() {
  tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | sed -nE 's/^ *\[?([0-9]+\/[0-9]+)\]? .*$/\1/p' | tail -n 1
}

# Shows the end of the last step's log.
step_show_log() {
  printf '\n--- last lines of %s ---\n' "${MI_STEP_LOG#"$MI_ROOT"/}" >&2
  tail -n 40 "$MI_STEP_LOG" >&2
  printf -- '---\n' >&2
}

# step_need REMEDY: ends the script if the last step failed.
step_need() {
  [ "$MI_STEP_RC" -ne 0 ] || return 0
  step_show_log
  die "step $MI_STEP_PREFIX$MI_STEP failed; its log is ${MI_STEP_LOG#"$MI_ROOT"/}" "$1"
}

# --- builds ----------------------------------------------------------------------------------------

# configure FOLDER ARGS...: meson setup, unless the folder was set up with these very arguments and cross
# files. A folder that was set up in another way (by hand, say) is made afresh: Meson cannot take on another
# cross file.
configure() {
  local folder=$1 want arg
  shift
  want="meson $(meson --version) --werror $*"
  for arg in "$@"; do
    case $arg in --cross-file=*) want+=$'\n'$(<"${arg#*=}") ;; esac
  done
  if [ -f "$folder/build.ninja" ] && [ "$(cat "$folder/.wine-ci" 2>/dev/null)" = "$want" ]; then return 0; fi
  if [ -d "$folder/meson-private" ]; then
    echo "$folder was set up with other arguments: making it afresh"
    rm -rf "$folder"
  fi
  meson setup "$folder" "$MI_ROOT" --werror "$@"
  printf '%s\n' "$want" >"$folder/.wine-ci"
}

# Prefix of the cross compiler's names. ucrt64 is x86_64 with the universal C runtime, a toolchain of its own.
triplet_of() { if [ "$1" = ucrt64 ]; then echo x86_64-w64-mingw32ucrt; else echo "$1-w64-mingw32"; fi; }

# build_cross ARCH FOLDER [OPTION...]: configures, with Meson's options, and compiles for Windows.
build_cross() {
  local triplet
  triplet=$(triplet_of "$1")
  configure "$2" "--cross-file=$MI_ROOT/wine-ci/$triplet.ini" "--cross-file=$MI_CACHE/$triplet.ini" "${@:3}"
  meson compile -C "$2"
}

# --- Wine ------------------------------------------------------------------------------------------

# wine_env [ARCH]: sets the environment of the project's own Wine prefix for programs of that architecture
# (x86_64), and MI_WINE and MI_WINESERVER, the heads of command lines. Fails quietly when Wine is missing.
# Debian's /usr/bin/wine is a shell script that asks dpkg questions: the loader is quicker. Of what Wine has to say, the
# errors about its address space are left on: a process dies of them, with an exit code that looks like the program's.
wine_env() {
  export WINEDEBUG=${MI_WINEDEBUG:--all,err+virtual}
  # No offer to download Mono or Gecko, no menu entries on the user's desktop, no window on any display. No
  # debugger at a crash either: it starts more services, which hold on to the crashed program's stdout.
  export WINEDLLOVERRIDES='mscoree,mshtml=;winemenubuilder.exe=d'
  [ -n "${MI_WINEDBG:-}" ] || WINEDLLOVERRIDES+=';winedbg.exe=d'
  unset DISPLAY WAYLAND_DISPLAY
  if [ "${1:-x86_64}" = i686 ]; then
    export WINEPREFIX=$MI_CACHE/wine32 WINEARCH=win32
    # A process that ends while one of its threads is just starting dies of a fault of 32-bit Wine 8 (docs/platforms.md):
    # the timer that gives idle memory back may be such a thread. "0" in the environment leaves it on.
    export MIMALLOC_DISABLE_IDLE_PURGE=${MIMALLOC_DISABLE_IDLE_PURGE:-1}
    i386_ready || return 1
    if i386_shows "$PWD"; then i386_enter "$MI_I386" "$PWD"; else i386_enter "$MI_I386" /; fi
    MI_WINE=("${MI_ENTER[@]}" /usr/lib/wine/wine)
    MI_WINESERVER=("${MI_ENTER[@]}" /usr/lib/wine/wineserver32)
    MI_WINE_LINGER=$MI_I386_LINGER
  else
    export WINEPREFIX=$MI_CACHE/wine WINEARCH=win64
    MI_WINE=(/usr/lib/wine/wine64)
    [ -x "${MI_WINE[0]}" ] || MI_WINE=("$(command -v wine64 || command -v wine)") || return 1
    # Linux puts the heap of Wine's loader anywhere in the GiB behind 0x7d000000, and so once in some thousand starts over
    # 0x7ffe0000, where Wine must have a page that is shared with all processes: the process ends with exit code 1 then, and
    # says why with err+virtual alone. Without that randomness of Linux it can't happen.
    ! setarch -R true 2>/dev/null || MI_WINE=("$(command -v setarch)" -R "${MI_WINE[@]}") # containers may forbid it
    MI_WINESERVER=(/usr/lib/wine/wineserver64)
    [ -x "${MI_WINESERVER[0]}" ] || MI_WINESERVER=("$(command -v wineserver)") || return 1
    MI_WINE_LINGER=$MI_WINESERVER_LINGER
  fi
}

# Makes sure that a wineserver runs, with Wine's services started. The first program after a start hands its
# stdout to those services, and whoever reads it would wait for ever: so that program is a trivial one, with
# all streams on /dev/null. Costs 3 ms when all is up (a second wineserver finds the first and ends with
# code 2), 10 ms for 32 bits.
wine_up() {
  local rc=0
  exec 7>"$WINEPREFIX.lock"
  flock 7
  "${MI_WINESERVER[@]}" "-p$MI_WINE_LINGER" </dev/null >/dev/null 2>&1 7>&- || rc=$?
  if [ "$rc" -eq 0 ]; then
    timeout -k 5 600 "${MI_WINE[@]}" cmd /c exit 0 </dev/null >/dev/null 2>&1 7>&- || rc=1
  elif [ "$rc" -eq 2 ]; then
    rc=0
  fi
  exec 7>&-
  return "$rc"
}

# wine_stop ARCH: ends every Windows program of that architecture and the wineserver. Fails when none ran.
wine_stop() (
  wine_env "$1" && [ -d "$WINEPREFIX" ] && timeout -k 5 60 "${MI_WINESERVER[@]}" -k </dev/null >/dev/null 2>&1
)

# shellcheck source-path=SCRIPTDIR source=i386.sh
. "$MI_ROOT/wine-ci/i386.sh"
# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$MI_ROOT/wine-ci/debian.sh"
