#!/bin/busybox sh
# The guest of the driver's tests: tells what it sees, ticks, and ends by its power button.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
echo "GUEST disks=$(cd /sys/block && echo vd*) sizes=$(cat /sys/block/vd*/size | tr '\n' ',') ro=$(cat /sys/block/vd*/ro | tr '\n' ',')"
echo "GUEST rng=$(cat /sys/class/misc/hw_random/rng_current) mac=$(cat /sys/class/net/eth0/address) cpus=$(nproc)"
echo "GUEST clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource) uptime=$(cat /proc/uptime)"
echo "GUEST root=$(head -c 12 /dev/vda)"
[ -b /dev/vdb ] && echo from-the-guest | dd of=/dev/vdb conv=fsync 2>/dev/null
ip addr add 169.254.0.2/30 dev eth0
ip link set eth0 up
# Opened before it says so: what happens to a device that nobody has open is lost.
exec 3</dev/input/event0
(head -c 24 <&3 >/dev/null; echo "GUEST power button"; for d in /sys/bus/virtio/drivers/virtio_net/virtio*; do echo ${d##*/} > /sys/bus/virtio/drivers/virtio_net/unbind; done; poweroff -f) &
echo "GUEST ready"
case "$(cat /proc/cmdline)" in
    *test=flood*) echo "GUEST flood begins"; yes "0123456789 flooding the console 0123456789" ;;
    *test=poweroff*) poweroff -f ;;
    *test=reboot*) reboot -f ;;
esac
n=0
while true; do
    n=$((n + 1))
    echo "GUEST tick $n"
    usleep 100000
done
