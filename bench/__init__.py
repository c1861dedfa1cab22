"""`./dev bench`: the gateway and a bare echo, side by side in one run, so that the machine's mood cancels out.

machine   child processes, their CPU time and memory
wrk       the load: wrk with `load.lua`, the same requests for both
echo      what the gateway is held against
gateway   the gateway under test: folder, accounts, `serve`, `work`, and the books at the end
run       the plan of a run
figures   from measurements to ratios, table and JSON
"""
