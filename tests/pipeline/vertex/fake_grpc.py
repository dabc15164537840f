"""The fake cloud's Vertex AI over gRPC, the default protocol of its clients."""

from concurrent import futures

import grpc
from google.cloud.aiplatform_v1 import types as gca
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format

# Requests by method: their type, the answer's, and the same request over REST.
_METHODS = {
    "CreatePipelineJob": (
        gca.CreatePipelineJobRequest,
        gca.PipelineJob,
        lambda asked: (
            *("POST", f"{asked.parent}/pipelineJobs"),
            {"pipelineJobId": asked.pipeline_job_id},
            gca.PipelineJob.to_json(asked.pipeline_job),
        ),
    ),
    "GetPipelineJob": (
        gca.GetPipelineJobRequest,
        gca.PipelineJob,
        lambda asked: ("GET", asked.name, {}, ""),
    ),
    "CancelPipelineJob": (
        gca.CancelPipelineJobRequest,
        empty_pb2.Empty,
        lambda asked: ("POST", f"{asked.name}:cancel", {}, ""),
    ),
    "ListCustomJobs": (
        gca.ListCustomJobsRequest,
        gca.ListCustomJobsResponse,
        lambda asked: ("GET", f"{asked.parent}/customJobs", {"filter": asked.filter}, ""),
    ),
    "CancelCustomJob": (
        gca.CancelCustomJobRequest,
        empty_pb2.Empty,
        lambda asked: ("POST", f"{asked.name}:cancel", {}, ""),
    ),
    "CreateSchedule": (
        gca.CreateScheduleRequest,
        gca.Schedule,
        lambda asked: (
            "POST",
            f"{asked.parent}/schedules",
            {},
            gca.Schedule.to_json(asked.schedule),
        ),
    ),
    "ListSchedules": (
        gca.ListSchedulesRequest,
        gca.ListSchedulesResponse,
        lambda asked: ("GET", f"{asked.parent}/schedules", {}, ""),
    ),
    "GetSchedule": (
        gca.GetScheduleRequest,
        gca.Schedule,
        lambda asked: ("GET", asked.name, {}, ""),
    ),
    "DeleteSchedule": (
        gca.DeleteScheduleRequest,
        operations_pb2.Operation,
        lambda asked: ("DELETE", asked.name, {}, ""),
    ),
}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class GrpcVertex(grpc.GenericRpcHandler):
    """Serves a `FakeCloud`.

    Attributes:
      endpoint: HOST:PORT.
      calls: names of the methods that were called.
    """

    def __init__(self, cloud):
        self._cloud = cloud
        self.calls: list[str] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[self])
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self):
        self._server.stop(None).wait()

    def service(self, details):
        name = details.method.rpartition("/")[2]
        if name not in _METHODS:
            return None
        request_type, answer_type, as_rest = _METHODS[name]

        def serve(message: bytes, context) -> bytes:
            self.calls.append(name)
            method, path, parameters, body = as_rest(request_type.deserialize(message))
            status, value = self._cloud.vertex(method, path, parameters, body.encode())
            if status != 200:
                context.abort(_CODES[status], value["error"]["message"])
            plain = answer_type.pb() if hasattr(answer_type, "pb") else answer_type
            return json_format.ParseDict(value, plain()).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(serve)
