#!/bin/bash
# s3rver, an object store that others wrote, with the bucket "vault" in a directory; ends with its stdin.
#   s3rver.sh DIRECTORY     first line: "port N", or why it cannot run
cd "$(dirname "$0")/../.." || exit 1
why=$(tests/clients/fetch.sh) || { printf '%s' "$why"; exit 77; }
NODE_PATH=$PWD/build/clients/node_modules exec node -e '
const S3rver = require("s3rver");
const options = { port: 0, address: "127.0.0.1", silent: true, directory: process.argv[1] + "/s3rver",
                  configureBuckets: [{ name: "vault", configs: [] }] };
new S3rver(options).run((err, address) => { console.log(err ? String(err) : "port " + address.port); });
process.stdin.on("end", () => process.exit(0)).resume();' "$1"
