-- For wrk: POST /predict with each of the files that the environment names, in turn; the results are one line of JSON.
local requests, turn = {}, 0

function init(arguments)
   local boundary = "benchmark"
   for path in os.getenv("CLIPS"):gmatch("[^\n]+") do
      local file = assert(io.open(path, "rb"))
      local body = "--" .. boundary .. "\r\n"
         .. 'Content-Disposition: form-data; name="audio"; filename="clip.mp3"\r\n'
         .. "Content-Type: audio/mpeg\r\n\r\n" .. file:read("*a") .. "\r\n--" .. boundary .. "--\r\n"
      file:close()
      local headers = { ["Content-Type"] = "multipart/form-data; boundary=" .. boundary }
      table.insert(requests, wrk.format("POST", "/predict", headers, body))
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency, all)
   local failed = summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.status + summary.errors.timeout
   io.write(string.format('{"p50": %f, "p95": %f, "p99": %f, "rps": %f, "failed": %d}\n',
      latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000,
      summary.requests / summary.duration * 1e6, failed))
end
