# The one image of Earshot: operator, routers, gateways and the canary are the same files, the command says which one runs:
#   docker build -t earshot . ; docker run earshot router/main.ts --help
# Nothing is compiled: Node.js runs the TypeScript as it is. No step depends on the architecture.

FROM node:24-slim AS libraries
WORKDIR /app
COPY package.json package-lock.json ./
# No package of ours needs its install script. Types, source maps and READMEs are half of it, and nothing reads them.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --cache /tmp/npm \
 && rm -rf /tmp/npm node_modules/@types \
 && find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -iname 'readme.md' -o -iname 'changelog.md' \) -delete

FROM node:24-slim
WORKDIR /app
COPY --from=libraries /app/node_modules node_modules
COPY . .
# What Node.js makes of the files is kept, by the user who will run them (its folder is named after the user's id): a start
# then need not strip and compile them, though the root is read-only.
ENV NODE_ENV=production NODE_COMPILE_CACHE=/app/node_modules/.cache/earshot
RUN mkdir -p node_modules/.cache && chown 1000:1000 node_modules/.cache
USER 1000:1000
RUN node scripts/warm.ts
# As process 1 there is nobody between Node.js and the signals of the kubelet.
ENTRYPOINT ["node"]
CMD ["operator/main.ts"]
