#!/bin/sh
# The unit tests of everything that reaches `unsafe` under valgrind's memcheck: reads of what was never written, accesses past
# what was allocated, memory given back twice. What is pure
# (formats/, config/, load/plan) has no unsafe code and is left out: memcheck is slow.
#
# A build of its own: in a static program, such as make's, memcheck cannot stand in for malloc. The library's C half has the
# same in tests/library/memory.rs.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/dynamic
unset CARGO_BUILD_TARGET
export RUSTFLAGS= CARGO_TARGET_DIR="$target"
binary=$(${CARGO:-cargo} test --locked --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*kmod_once-[^"]*\)".*/\1/p' | tail -1)
[ -x "$binary" ] || { echo "sanitize: no test program was built" >&2; exit 1; }
ldd "$binary" | grep -q 'libc\.so' || { echo "sanitize: $binary is static" >&2; exit 1; }

# Valgrind runs one thread at a time, and can leave one waiting for minutes unless told to be fair.
memcheck() {
    valgrind --quiet --fair-sched=yes --error-exitcode=9 "$binary" --test-threads "$(nproc)" "$@"
}

# That errors are found is shown first, with two on purpose.
for error in reads_what_was_never_written reads_past_the_end; do
    status=0
    said=$(memcheck --ignored --exact "system::memcheck_finds::$error" 2>&1) || status=$?
    if [ "$status" != 9 ]; then
        echo "$said" >&2
        echo "sanitize: the error on purpose, $error, was not found (status $status)" >&2
        exit 1
    fi
    echo "sanitize: $error: found"
done
memcheck system:: gate:: tree:: depmod:: load::insert load::ahead
