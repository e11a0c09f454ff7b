// Owns: how node:http is loaded. An `import` of it evaluates all that it could give, which loads undici: 50 ms of CPU in
// each process of a start (node -e "await import('node:http')" against getBuiltinModule, Node 24.21), and we need none of it.

export const { createServer, STATUS_CODES } = process.getBuiltinModule("node:http");
