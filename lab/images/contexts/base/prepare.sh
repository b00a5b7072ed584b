#!/bin/sh
# Makes rootfs.tar.gz, a minimal system with its apt sources, in the folder $1.
# Environment: SUITE, MIRROR, SECURITY_MIRROR.
set -eu
out=$1
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR"

rm -f "$root/etc/apt/sources.list"
cat > "$root/etc/apt/sources.list.d/debian.sources" <<EOF
Types: deb
URIs: $MIRROR
Suites: $SUITE $SUITE-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $SECURITY_MIRROR
Suites: $SUITE-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
cp slim.cfg "$root/etc/dpkg/dpkg.cfg.d/slim"
# The host's own name servers, and nodes that an engine provides, do not belong in an image.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
find "$root/usr/share/doc" -type f ! -name copyright -delete
for emptied in usr/share/man usr/share/info usr/share/locale var/lib/apt/lists var/cache/apt var/log dev; do
  # Folders stay: a package may link into an excluded one.
  find "$root/$emptied" ! -type d -delete
done
tar -C "$root" --one-file-system --numeric-owner -c . | gzip -1 > "$out/rootfs.tar.gz"
