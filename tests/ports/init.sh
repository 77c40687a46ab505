#!/bin/busybox sh
# tests/ports/init.sh: process 1 of the machines that tests/ports/run boots. Two storms with our modprobe, in /ours, and then with
# the stock one, in /theirs: each modprobe of a storm waits until all are there. Lines that begin with `ports:` are for the host.
# shellcheck shell=dash
export PATH=/bin
/bin/busybox --install -s /bin

# end WHY: leaves the machine. QEMU ends where it would start again.
end() {
    echo "ports: end $*"
    sleep 1
    reboot -f
}

# storm WHO TIMES NAME...: so many requests for each name at once. What the kernel was called for, which modules' images it
# accepted, which of them are there, and how many modprobes failed.
storm() {
    local who=$1 times=$2 all=$(($2 * ($# - 2))) before name calls loads
    shift 2
    before=$(grep -c . /proc/modules)
    echo "/$who/modprobe" >/proc/sys/kernel/modprobe
    : >/tmp/failed
    echo >"$trace/trace"
    while [ "$times" -gt 0 ]; do
        for name; do
            (
                read -r _ <&3
                "/$who/modprobe" "$name" || echo "$name" >>/tmp/failed
            ) &
        done
        times=$((times - 1))
    done
    sleep 2
    yes '' | head -n "$all" >&3
    wait
    calls=$(grep -c 'sys_f\?init_module(' "$trace/trace")
    loads=$(sed -n 's/.*: module_load: \([^ ]*\).*/\1/p' "$trace/trace" | sort -u | wc -l)
    echo "ports: $who $all $calls $loads $(($(grep -c . /proc/modules) - before)) $(grep -c . /tmp/failed)"
}

# Both storms, and the modules are removed again, those that nobody uses first.
storms() {
    # shellcheck disable=SC2046
    storm "$1" 32 xfs && storm "$1" 4 $(cat /names)
    while awk '$3 == 0 { print $1 }' /proc/modules | xargs -r "/$1/rmmod"; do
        awk '$3 == 0 { unused = 1 } END { exit !unused }' /proc/modules || break
    done
    echo "ports: left $(cut -d ' ' -f 1-4 /proc/modules | tr '\n' ';')"
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
trace=/sys/kernel/tracing
mount -t tracefs tracefs $trace
for event in syscalls/sys_enter_init_module syscalls/sys_enter_finit_module module/module_load; do
    echo 1 >$trace/events/$event/enable || end "no event $event"
done
mkfifo /tmp/start
exec 3<>/tmp/start
echo "ports: clock $(sed -n 's/^btime //p' /proc/stat)"
storms ours
/ours/kmod stats | sed 's/^total/ports: stats/' | head -n 8
storms theirs
end well
