# Sourced: puts the tools that `make setup` built under target/tools before those of the system.
#   source tools/env.sh        (in bash or zsh; the Makefile sources it in each recipe)
# Plain `cargo build` needs this only if the system's meson is older than 1.1, as in Debian 12.

handsfree_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
handsfree_tools="$handsfree_root/target/tools"
# Spelled as in .cargo/config.toml, because another value would make cargo rebuild the C++.
handsfree_abseil_pkgconfig="$handsfree_root/target/tools/abseil/lib/pkgconfig"

# rustup adds itself to the shell's start-up files only, which an open shell has not read.
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

case ":$PATH:" in
    *":$handsfree_tools/bin:"*) ;;
    *) PATH="$handsfree_tools/bin:$PATH" ;;
esac

case ":${PKG_CONFIG_PATH:-}:" in
    *":$handsfree_abseil_pkgconfig:"*) ;;
    ::) PKG_CONFIG_PATH="$handsfree_abseil_pkgconfig" ;;
    *) PKG_CONFIG_PATH="$handsfree_abseil_pkgconfig:$PKG_CONFIG_PATH" ;;
esac

# meson compiles with ccache if it is there. Cargo builds the C++ once for each profile and set of features, in another folder each time:
# ccache ignores the folder by the last two.
CCACHE_DIR="${CCACHE_DIR:-$handsfree_tools/ccache}"
CCACHE_BASEDIR="${CCACHE_BASEDIR:-$handsfree_root}"
CCACHE_NOHASHDIR=1

export PATH PKG_CONFIG_PATH CCACHE_DIR CCACHE_BASEDIR CCACHE_NOHASHDIR
