#!/bin/bash
# nginx resolves its upstreams once, at the start: wait until each of them is there.
set -eu
for name in checkout cart catalog recommendation; do
    until (exec 3<>"/dev/tcp/$name/8080") 2>/dev/null; do
        sleep 0.5
    done
done
exec nginx -g 'daemon off;'
