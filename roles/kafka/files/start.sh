#!/bin/bash
# Starts the broker as the image's own start does, with the settings from the KAFKA_* variables. That one formats the disk as
# well, which it refuses for controllers whose quorum can change; the role has formatted it.
set -euo pipefail

if ! said=$(/opt/kafka/bin/kafka-run-class.sh kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1); then
  if ! grep -qiE "already formatted|must specify one of" <<< "$said"; then
    echo "$said" >&2
    exit 1
  fi
fi

exec /opt/kafka/bin/kafka-server-start.sh /opt/kafka/config/server.properties
