#!/bin/bash
# Starts a class of Kafka's: kafka-run-class.sh CLASS ARGUMENT…
# Honours KAFKA_HEAP_OPTS, KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_LOG4J_OPTS, KAFKA_JMX_OPTS, KAFKA_OPTS and CLASSPATH,
# each a list of words, as the official launchers do.
set -eu
export LC_ALL=C.UTF-8

home=/opt/kafka
# The archive of classes holds for this very order of jars, which a sorted glob gives.
jars=("$home"/libs/*.jar)
classpath=$(IFS=:; echo "${jars[*]}")${CLASSPATH:+:$CLASSPATH}

heap=${KAFKA_HEAP_OPTS:--Xmx256M}
# A tool lives for a second: no second compiler, no parallel collector.
performance=${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1}
logging=${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$home/config/tools-log4j2.yaml}

# shellcheck disable=SC2086 # each of these is a list of words
exec java $heap $performance -XX:SharedArchiveFile="$home/kafka.jsa" -Xshare:auto \
  $logging -Dkafka.logs.dir="$home/logs" -Djava.awt.headless=true \
  ${KAFKA_JMX_OPTS-} ${KAFKA_OPTS-} -cp "$classpath" "$@"
