// The peer of the RPC figures: the health service on Debian's libgrpc++, mutual TLS, callback API.
//
//   peer_rpc DIR     DIR holds ca.crt, server.crt, server.key; prints the port, ends with its input
#include "grpc/health/v1/health.grpc.pb.h"
#include <fstream>
#include <grpcpp/grpcpp.h>
#include <iostream>
#include <sstream>

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

static std::string read(const std::string &path)
{
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class Health final : public grpc::health::v1::Health::CallbackService {
    grpc::ServerUnaryReactor *Check(grpc::CallbackServerContext *context, const HealthCheckRequest *,
                                    HealthCheckResponse *response) override
    {
        response->set_status(HealthCheckResponse::SERVING);
        grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }
};

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    std::string dir = argv[1];
    grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = read(dir + "/ca.crt");
    options.pem_key_cert_pairs.push_back({read(dir + "/server.key"), read(dir + "/server.crt")});
    Health health;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port);
    builder.RegisterService(&health);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server)
        return 1;
    std::cout << port << std::endl;
    std::cin.get();
    server->Shutdown();
}
