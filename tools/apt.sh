# Sourced after versions.sh: what the setup scripts install from apt, they install with these.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        fail "this needs root: $*" "there is no sudo here; run that line as root, then \`make setup\` again"
    fi
}

apt_install() {
    command -v apt-get >/dev/null \
        || fail "missing, and this is no Debian or Ubuntu with apt-get: $*" "install what corresponds, then \`make setup\` again"
    say "installing from apt: $*"
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@")
    # The first try fails at once where the package lists were never fetched, or name versions that are gone.
    as_root "${install[@]}" && return
    say "fetching apt's package lists, then trying again"
    as_root apt-get update -q
    as_root "${install[@]}" || fail "could not install: $*"
}

apt_candidate() {
    apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ { print $2 }'
}

apt_lists_present() {
    case "$(apt_candidate g++)" in
        '' | '(none)') as_root apt-get update -q ;;
    esac
}
