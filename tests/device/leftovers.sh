#!/bin/sh
# Prints what the device has of instances and networks, one thing a line.
# Nothing is printed when all has been given back.
findmnt --raw --noheadings --output TARGET | grep -E '^/(run|var)/aos/|^/run/netns/' | sed 's/^/mount /' || true
for entry in /run/netns/* /run/aos/runtime/* /run/systemd/system/aos-service@*; do
    [ ! -e "$entry" ] || echo "file $entry"
done
ip -oneline link | awk -F': ' '$2 != "lo" { print "link " $2 }'
systemctl list-units --all --plain --no-legend 'aos-service@*' | awk '{ print "unit " $1 " " $3 }'
find /sys/fs/cgroup -type d -name 'aos-service@*' | sed 's/^/cgroup /'
