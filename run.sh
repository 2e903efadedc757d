#!/bin/sh
# Start, test or check Enterprise Billing on a machine with nothing but Python 3.11 or newer.
#   sh run.sh                  start it (the same as `make run`)
#   sh run.sh test [options]   run the tests (`make test`); options go to pytest
#   sh run.sh check            lint, types, layers, deployment checks (`make check`)
set -eu

PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin"
PYTHONUTF8=1
export PATH PYTHONUTF8
cd -P -- "$(dirname -- "$0")"

# 3.11 and 3.12 first: every package has a wheel for them.
find_python() {
    for candidate in .venv/bin/python python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Enterprise Billing needs Python 3.11 or newer, and none is on the PATH." \
         "Debian and Ubuntu: apt-get install python3 python3-venv. macOS: brew install python@3.12." >&2
    exit 1
}

command="${1:-run}"
[ $# -eq 0 ] || shift
python="$(find_python)"

case "$command" in
    run)
        "$python" -I billing_project/bootstrap.py run
        exec .venv/bin/python -m billing_project.launch "$@"
        ;;
    test)
        "$python" -I billing_project/bootstrap.py dev
        cores="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
        [ "$cores" -le 8 ] || cores=8
        exec .venv/bin/python -m pytest -n "${TEST_PROCESSES:-$cores}" --dist loadgroup "$@"
        ;;
    check)
        "$python" -I billing_project/bootstrap.py dev
        exec .venv/bin/python -m billing_project.checks "$@"
        ;;
    install)
        exec "$python" -I billing_project/bootstrap.py dev
        ;;
    *)
        echo "Unknown: $command. Use: sh run.sh [run|test|check|install]" >&2
        exit 2
        ;;
esac
