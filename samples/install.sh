#!/bin/sh
# Puts `bulkstop` on the PATH, from this checkout: by pipx or uv where there is one, else in an environment of its own
# with a link in ~/.local/bin. Once more it upgrades; with --remove it takes away what it has put there.
set -eu
cd "$(dirname "$0")/.."
home="${XDG_DATA_HOME:-$HOME/.local/share}/bulkstop"
link="$HOME/.local/bin/bulkstop"
python=$(command -v "${PYTHON:-python3}") || { echo "install: there is no ${PYTHON:-python3}" >&2; exit 1; }

is_ours() { [ "$(readlink "$link" 2>/dev/null)" = "$home/bin/bulkstop" ]; }

# An installation that broke off has an environment and no link.
remove_own() {
    removed=
    if is_ours || [ -e "$home/pyvenv.cfg" ]; then
        if is_ours; then rm -f "$link"; fi
        rm -rf "$home"
        removed=yes
    fi
}

remove_all() {
    remove_own
    if command -v pipx >/dev/null && [ -d "$(pipx environment --value PIPX_LOCAL_VENVS)/bulkstop" ]; then
        pipx uninstall bulkstop && removed=yes
    fi
    if command -v uv >/dev/null && [ -d "$(uv tool dir)/bulkstop" ]; then
        uv tool uninstall bulkstop && removed=yes
    fi
}

if [ "${1:-}" = --remove ]; then
    remove_all
    [ -n "$removed" ] && echo "bulkstop is removed" || echo "bulkstop was not installed by make install; nothing is removed"
    exit 0
fi

if command -v pipx >/dev/null; then
    remove_own
    pipx install --force --python "$python" .
    folder=$(pipx environment --value PIPX_BIN_DIR)
elif command -v uv >/dev/null; then
    remove_own
    uv tool install --force --reinstall --python "$python" .  # without --reinstall it may take what it built before
    folder=$(uv tool dir --bin)
else
    if [ -e "$link" ] && ! is_ours; then
        echo "install: $link is there already, and not from here; move it away first" >&2
        exit 1
    fi
    "$python" -c 'import sys; sys.exit("install: Python 3.11 or newer is needed; choose one: make install PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
    "$python" -m venv --clear "$home"
    "$home/bin/python" -m pip --disable-pip-version-check --quiet install .
    mkdir -p "$(dirname "$link")"
    ln -sfn "$home/bin/bulkstop" "$link"
    folder=$(dirname "$link")
fi
found=$(command -v bulkstop || :)
case ":$PATH:" in
*":$folder:"*)
    if [ "$found" = "$folder/bulkstop" ]; then
        echo "bulkstop is installed; try: bulkstop --help"
    else
        echo "bulkstop is installed in $folder, but $found comes before it on the PATH"
    fi
    ;;
*) echo "bulkstop is installed in $folder, which is not on the PATH; add to your shell's profile: export PATH=\"$folder:\$PATH\"" ;;
esac
