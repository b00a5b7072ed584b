#!/bin/sh
# Fetches Kafka's jars from Maven Central into $1/libs and writes a launcher for each tool into $1/bin.
# Environment: KAFKA_VERSION, PYTHON.
set -eu
out=$1
dependency() {
  goal=$1
  shift
  mvn -B -q -ntp -f pom.xml "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:$goal" "$@"
}
version_of() { basename "$out/libs/$1"-[0-9]*.jar .jar | sed "s/^$1-//"; }

dependency copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$out/libs"

# The logging binding is no dependency of Kafka's: it must fit the logging that came.
case "$(version_of slf4j-api)" in
  1.*) binding=log4j-slf4j-impl ;;
  *) binding=log4j-slf4j2-impl ;;
esac
dependency copy "-Dartifact=org.apache.logging.log4j:$binding:$(version_of log4j-core)" "-DoutputDirectory=$out/libs"

"$PYTHON" launchers.py tools.txt "$out/libs" "$out/bin"
