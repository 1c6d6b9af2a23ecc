-- wrk's script: one chat request over and over, and the outcome as one line of JSON.
-- Arguments after `--`: KEY STREAM(true|false) PROMPT_BYTES
local request_text

function init(args)
  local body = string.format(
    '{"model":"gpt-4o-mini","stream":%s,"messages":[{"role":"system","content":"Be brief."},'
      .. '{"role":"user","content":"%s"}]}',
    args[2], string.rep("x", tonumber(args[3])))
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[1] }
  request_text = wrk.format("POST", "/v1/chat/completions", headers, body)
end

function request()
  return request_text
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
