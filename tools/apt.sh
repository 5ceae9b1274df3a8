# Sourced after versions.sh: functions with which the setup scripts install packages from apt.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        fail "this command needs root: $*" "sudo is not installed; run the command as root, then \`make setup\` again"
    fi
}

apt_install() {
    command -v apt-get >/dev/null \
        || fail "these packages are missing, and apt-get is not available: $*" "install the corresponding packages, then \`make setup\` again"
    say "installing from apt: $*"
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@")
    # The first attempt fails at once if the package lists are missing or name versions that no longer exist.
    as_root "${install[@]}" && return
    say "fetching apt's package lists and retrying"
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
