"""Health while the agent goes: SERVING, then NOT_SERVING, then UNAVAILABLE.  watch.py ADDRESS FOLDER DESCRIPTORS WHO"""
import sys

import grpc

from wire import Channel, Wire

address, folder, descriptors, who = sys.argv[1:5]
told = []
try:
    for answer in Channel(Wire(descriptors), address, folder, who).call("grpc.health.v1.Health/Watch", timeout=60):
        told.append(answer.status)
        print("watching", flush=True)
except grpc.RpcError as e:
    told.append(e.code())
print("seen", *told, flush=True)
sys.exit(0 if told == [1, 2, grpc.StatusCode.UNAVAILABLE] else 1)
