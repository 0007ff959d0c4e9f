#!/usr/bin/env bash
# Runs the step of the Jenkins library with stand-ins for the steps of Jenkins that it calls.
#
# Usage: deploy/dev/jenkins-library.sh
#
# Groovy is fetched into target/groovy by Maven, which checks it against its checksum. Needs java and mvn.
set -euo pipefail

groovy=4.0.28

cd "$(dirname "$0")/../.."
for program in java mvn; do
  if ! command -v "$program" >/dev/null; then
    echo "the Jenkins library is run by Groovy, and there is no $program in PATH" >&2
    exit 1
  fi
done
jar=target/groovy/groovy-$groovy.jar
if [ ! -f "$jar" ]; then
  echo "fetching Groovy, into target/groovy"
  mvn --quiet --batch-mode dependency:copy \
    "-Dartifact=org.apache.groovy:groovy:$groovy" "-DoutputDirectory=$PWD/target/groovy"
fi
page=$(mktemp)
trap 'rm -f "$page"' EXIT
# The job of the page, without the lines that Jenkins itself reads.
awk '/^```/ { if (inside) exit; inside = 1; next } inside' docs/ci/jenkins.md |
  sed '/^@Library/d; /checkout scm/d' >"$page"
java -cp "$jar" groovy.ui.GroovyMain deploy/ci/jenkins/test.groovy "$page"
