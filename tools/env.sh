# Sourced, not run: puts what `make setup` built under target/tools in front of what the machine has.
#   source tools/env.sh        (bash or zsh; the Makefile does it in each recipe)
# Plain `cargo build` needs it only where the system's meson is older than 1.1 (Debian 12).

handsfree_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
handsfree_tools="$handsfree_root/target/tools"
# The same spelling as in .cargo/config.toml: another value would make cargo build the C++ again.
handsfree_abseil_pkgconfig="$handsfree_root/target/tools/abseil/lib/pkgconfig"

# rustup adds itself to the shell's start files only, which a terminal that is already open has not read.
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

export PATH PKG_CONFIG_PATH
