-- What wrk sends: the same requests to whoever is measured. Arguments after the address:
--   submit  PATH  KEYS   RUN    one key a line; prompts and idempotency keys are unique as long as RUN is
--   balance PATH  KEYS   RUN    one key a line, asked for in turn
--   poll    PATH  TASKS  RUN    "task key" a line, asked for in random order
-- Requests are joined by hand: wrk.format costs more than the gateway's own parsing does.

local HEAD = "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer "
local BODY = '{"request_type": "async", "input": {"mode": "text-to-image", "prompt": '
    .. '"a lighthouse above a quiet harbour at dawn, soft watercolor, study no. '
local REST = '", "resolution": "2K", "aspect_ratio": "16:9", "max_images": 1}}'
local QUESTION = "GET %s?taskId=%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n"

local function read_lines(name)
  local lines = {}
  for line in io.lines(name) do lines[#lines + 1] = line end
  return lines
end

local function submits(path, keys, run)
  local heads, number = {}, 0
  for i, key in ipairs(keys) do heads[i] = HEAD:format(path) .. key .. "\r\nIdempotency-Key: " .. run .. "-" end
  return function()
    number = number + 1
    local unique = string.format("%012d", number)
    local length = #BODY + #run + 12 + #REST
    return heads[number % #heads + 1] .. unique .. "\r\nContent-Length: " .. length .. "\r\n\r\n"
        .. BODY .. run .. unique .. REST
  end
end

local function polls(path, tasks, run)
  local questions = {}
  for i, line in ipairs(tasks) do questions[i] = QUESTION:format(path, line:match("^(%S+) (%S+)$")) end
  math.randomseed(tonumber(run:sub(1, 7), 16))
  return function() return questions[math.random(#questions)] end
end

local function balances(path, keys)
  local questions, number = {}, 0
  local form = "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n"
  for i, key in ipairs(keys) do questions[i] = form:format(path, key) end
  return function()
    number = number + 1
    return questions[number % #questions + 1]
  end
end

function init(arguments)
  local kind, path, file, run = unpack(arguments)
  local makes = { submit = submits, poll = polls, balance = balances }
  request = makes[kind](path, read_lines(file), run)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "p50_us": %d, "p99_us": %d, "mean_us": %d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.mean))
end
