#!/bin/bash
# Runs HALLPASS_COMMAND by `hallpass exec`, as vars/hallpass.groovy sets it up.
set -euo pipefail

read -ra credentials <<<"$HALLPASS_CREDENTIALS"
exec hallpass exec "${credentials[@]}" -- bash -e -c "$HALLPASS_COMMAND"
