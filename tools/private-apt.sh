# Sourced after versions.sh: apt with separate sources, lists and downloads, for packages of another suite or another
# processor. It does not change the system's apt. Packages are signed by the distribution and come from the mirrors that
# this machine's apt uses.

# Creates the directory $work, which is removed when the script ends.
private_apt_open() {
    distribution="$(. /etc/os-release && echo "$ID")"
    codename="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")"
    case "$distribution" in
        debian) keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
        ubuntu) keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
        *) fail "this is $distribution: expected Debian or Ubuntu" ;;
    esac
    [ -r "$keyring" ] || fail "$keyring is missing: apt-get install $distribution-archive-keyring"
    # apt run by root downloads as the user _apt, which must be able to reach this directory and write into it.
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,download,log}
    touch "$work/status"
    [ "$(id -u)" -ne 0 ] || chown _apt "$work/download"
}

private_apt() {
    apt-get -q \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" \
        -o Dir::Cache="$work/cache" -o Dir::Log="$work/log" \
        -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= "$@"
}

apt_mirrors() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' \
        | awk -v codename="$codename" '$2 == codename || $2 == "stable" { print $1 }' | sort -u
}
