#!/bin/sh
# Posts a signed Gitea webhook: a pull request was opened in acme/demo, which starts the stage `review`.
# Run it twice: the second answer is `duplicate`. With another number as argument it is another pull request.
set -eu
number="${1:-1}"
secret_file=@SECRET_FILE@
sha=$(printf '%040d' "$number")
body='{"action":"opened","number":'"$number"',"pull_request":{"number":'"$number"',"title":"A first change",
"body":"Please review.","base":{"ref":"main","sha":"'"$sha"'"},"head":{"ref":"change","sha":"'"$sha"'"}},
"repository":{"full_name":"acme/demo"}}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$(cat "$secret_file")" -r | cut -d' ' -f1)
delivery=$(printf %s "$body" | openssl dgst -md5 -r | sed 's/^\(.\{8\}\)\(....\).\(...\).\(...\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/')
curl -sS @INGEST@/webhooks/gitea \
  -H 'Content-Type: application/json' -H 'X-Gitea-Event: pull_request' \
  -H "X-Gitea-Delivery: $delivery" -H "X-Gitea-Signature: $signature" \
  --data-raw "$body"
echo
