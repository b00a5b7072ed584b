#!/bin/bash
# Starts the broker as the image's own start does, with the settings from the KAFKA_* variables. That one formats the disk as
# well, which it refuses for controllers whose quorum can change; the role has formatted it.
set -euo pipefail
config=/opt/kafka/config

if ! said=$(/opt/kafka/bin/kafka-run-class.sh kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
  --mounted-configs-dir /mnt/shared/config --final-configs-dir "$config" 2>&1); then
  if ! grep -qiE "already formatted|must specify one of" <<< "$said"; then
    echo "$said" >&2
    exit 1
  fi
fi

# Docker keeps and rotates what is printed. The image would also write files, until the little memory for them is full:
# those of its own log4j2.yaml, and with -loggc the garbage collector's.
cat > "$config/log4j2.yaml" <<- 'END'
	Configuration:
	  Appenders:
	    Console:
	      name: STDOUT
	      PatternLayout:
	        pattern: "[%d] %p %m (%c)%n"
	  Loggers:
	    Root:
	      level: INFO
	      AppenderRef:
	        - ref: STDOUT
END
export EXTRA_ARGS="-name kafkaServer"

exec /opt/kafka/bin/kafka-server-start.sh "$config/server.properties"
