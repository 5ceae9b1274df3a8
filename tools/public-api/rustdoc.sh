#!/usr/bin/env bash
# Stands in for rustdoc in tools/check-api.sh: writes JSON, which a stable compiler does only when told that it may. The
# variable is set here alone, because cargo rebuilds dependencies whenever it changes.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@" -Z unstable-options --output-format json
