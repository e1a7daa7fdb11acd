#!/bin/sh
# Puts `bulkstop` on the PATH, from this checkout: by pipx or uv where there is one, else in an environment of its own
# with a link in ~/.local/bin. With --remove it takes away what it has put there.
set -eu
cd "$(dirname "$0")/.."
home="${XDG_DATA_HOME:-$HOME/.local/share}/bulkstop"
link="$HOME/.local/bin/bulkstop"

if [ "${1:-}" = --remove ]; then
    if [ "$(readlink "$link" 2>/dev/null)" = "$home/bin/bulkstop" ]; then
        rm -rf "$link" "$home"
    elif command -v pipx >/dev/null; then
        pipx uninstall bulkstop
    elif command -v uv >/dev/null; then
        uv tool uninstall bulkstop
    fi
    exit 0
fi

if command -v pipx >/dev/null; then
    pipx install --force .
    folder=$(pipx environment --value PIPX_BIN_DIR)
elif command -v uv >/dev/null; then
    uv tool install --force .
    folder=$(uv tool dir --bin)
else
    if [ -e "$link" ] && [ "$(readlink "$link")" != "$home/bin/bulkstop" ]; then
        echo "install: $link is there already, and not from here; move it away first" >&2
        exit 1
    fi
    "${PYTHON:-python3}" -m venv --clear "$home"
    "$home/bin/python" -m pip --disable-pip-version-check --quiet install .
    mkdir -p "$(dirname "$link")"
    ln -sfn "$home/bin/bulkstop" "$link"
    folder=$(dirname "$link")
fi
case ":$PATH:" in
*":$folder:"*) echo "bulkstop is installed; try: bulkstop --help" ;;
*) echo "bulkstop is installed in $folder, which is not on the PATH; add to your shell's profile: export PATH=\"$folder:\$PATH\"" ;;
esac
