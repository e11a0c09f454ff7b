// Owns: the server reflection services, v1 and v1alpha (https://grpc.io/docs/guides/reflection/): tools such as grpcurl
// ask a server for its own descriptors. It needs no token: the protos are public.

import { create, type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { bindService, GrpcStatus, type Server, type ServerDuplexStream } from "../runtime/grpc.ts";
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "#proto/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "#proto/grpc/reflection/v1alpha/reflection_pb.ts";

type ReflectionCall = ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse | Uint8Array>;
type Answer = ServerReflectionResponse["messageResponse"];

export class GrpcReflection {
  readonly #services: DescService[] = [];
  readonly #files = new Map<string, DescFile>();
  /** Fully qualified name of a service, method, message, field or enum: the file it stands in. */
  readonly #symbols = new Map<string, DescFile>();
  readonly #calls = new Set<ReflectionCall>();

  bind(server: Server): void {
    bindService(server, ServerReflection, { serverReflectionInfo: (call) => this.#serve(call) });
    // The two are the same message by message, so the bytes of v1 are those of v1alpha.
    const v1alpha: DescService = { ...ServerReflection, typeName: ServerReflectionV1Alpha.typeName };
    const methods = ServerReflection.methods.map((method) => ({ ...method, parent: v1alpha }));
    bindService(server, { ...ServerReflection, typeName: v1alpha.typeName, methods } as typeof ServerReflection, {
      serverReflectionInfo: (call) => this.#serve(call),
    });
    this.add(ServerReflection);
    this.add(ServerReflectionV1Alpha);
  }

  add(service: DescService): void {
    this.#services.push(service);
    this.#addFile(service.file);
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#calls.size;
  }

  /** Ends the streams, so that the server can. */
  end(): void {
    for (const call of this.#calls) call.end();
    this.#calls.clear();
  }

  #addFile(file: DescFile): void {
    const name = fileName(file);
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const message of file.messages) this.#addMessage(message, file);
    for (const enumeration of file.enums) this.#symbols.set(enumeration.typeName, file);
    for (const service of file.services) {
      this.#symbols.set(service.typeName, file);
      for (const method of service.methods) this.#symbols.set(`${service.typeName}.${method.name}`, file);
    }
    for (const dependency of file.dependencies) this.#addFile(dependency);
  }

  #addMessage(message: DescFile["messages"][number], file: DescFile): void {
    this.#symbols.set(message.typeName, file);
    for (const field of message.fields) this.#symbols.set(`${message.typeName}.${field.name}`, file);
    for (const nested of message.nestedMessages) this.#addMessage(nested, file);
    for (const nested of message.nestedEnums) this.#symbols.set(nested.typeName, file);
  }

  #serve(call: ReflectionCall): void {
    this.#calls.add(call);
    call.on("cancelled", () => this.#calls.delete(call));
    call.on("end", () => {
      this.#calls.delete(call);
      call.end();
    });
    call.on("drain", () => call.resume());
    call.on("data", (request: ServerReflectionRequest) => {
      const response = create(ServerReflectionResponseSchema, {
        validHost: request.host,
        originalRequest: request,
        messageResponse: this.#answer(request.messageRequest),
      });
      if (!call.write(response)) call.pause();
    });
  }

  #answer(request: ServerReflectionRequest["messageRequest"]): Answer {
    switch (request.case) {
      case "fileByFilename":
        return fileAnswer(this.#files.get(request.value), `no file ${request.value}`);
      case "fileContainingSymbol":
        return fileAnswer(this.#symbols.get(request.value), `no symbol ${request.value}`);
      case "listServices":
        return listAnswer(this.#services);
      case "fileContainingExtension":
      case "allExtensionNumbersOfType":
        return errorAnswer(GrpcStatus.NOT_FOUND, "this server has no extensions");
      case undefined:
        return errorAnswer(GrpcStatus.INVALID_ARGUMENT, "message_request is missing");
    }
  }
}

function fileName(file: DescFile): string {
  return `${file.name}.proto`;
}

/** A file and everything it imports, so that one answer is enough. */
function fileAnswer(file: DescFile | undefined, otherwise: string): Answer {
  if (file === undefined) return errorAnswer(GrpcStatus.NOT_FOUND, otherwise);
  const files = new Set<DescFile>();
  const collect = (one: DescFile): void => {
    if (files.has(one)) return;
    files.add(one);
    for (const dependency of one.dependencies) collect(dependency);
  };
  collect(file);
  const fileDescriptorProto = [...files].map((one) => toBinary(FileDescriptorProtoSchema, one.proto));
  const value = { $typeName: "grpc.reflection.v1.FileDescriptorResponse" as const, fileDescriptorProto };
  return { case: "fileDescriptorResponse", value };
}

function listAnswer(services: readonly DescService[]): Answer {
  const service = services.map(({ typeName }) => ({
    $typeName: "grpc.reflection.v1.ServiceResponse" as const,
    name: typeName,
  }));
  return { case: "listServicesResponse", value: { $typeName: "grpc.reflection.v1.ListServiceResponse", service } };
}

function errorAnswer(errorCode: number, message: string): Answer {
  const errorMessage = message.slice(0, 256);
  return {
    case: "errorResponse",
    value: { $typeName: "grpc.reflection.v1.ErrorResponse", errorCode, errorMessage },
  };
}
