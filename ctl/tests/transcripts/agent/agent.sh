#!/bin/sh
# What the transcripts' jobs run in place of claude: the prompt's word chooses how it ends.
[ "$1" = --version ] && { echo '2.1.330 (Claude Code)'; exit 0; }
prompt=$(cat)
result() { # is_error, further fields
  echo '{"type":"result","is_error":'"$1"',"session_id":"5e551011-0000-4000-8000-000000000000","num_turns":2,"total_cost_usd":0.0123,"usage":{"input_tokens":120,"output_tokens":30},"stop_reason":"end_turn",'"$2"'}'
}
echo '{"type":"system","subtype":"init","session_id":"5e551011-0000-4000-8000-000000000000","model":"none","tools":[]}'
echo '{"type":"assistant","parent_tool_use_id":null,"message":{"role":"assistant","content":[{"type":"text","text":"I look at it."}]}}'
case $prompt in
  *too-long*)
    result true '"subtype":"success","api_error_status":400,"terminal_reason":"prompt_too_long","result":"Prompt is too long"'
    exit 1 ;;
  *bad-key*)
    result true '"subtype":"success","api_error_status":401,"terminal_reason":"api_error","result":"Invalid API key · Please run /login"'
    exit 1 ;;
  *for-ever*)
    # Ends with its terminal, and with SIGTERM at once.
    exec sleep 600 ;;
esac
result false '"subtype":"success","terminal_reason":"completed","result":"It is done."'
