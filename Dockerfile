# Three stages: what compiles, what runs beside it, and the image. Builds with BuildKit and with the classic builder.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
RUN npm run build

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="banyan" \
      org.opencontainers.image.description="Change data capture from a legacy PostgreSQL database to Amazon EventBridge" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# The configuration is mounted at /etc/banyan. Inside a container loopback is nobody's network, so the port opens to all of it, and
# that needs a token: `http: { token: ${BANYAN_TOKEN} }`.
ENV NODE_ENV=production \
    BANYAN_CONFIG=/etc/banyan/banyan.yaml \
    BANYAN_HTTP_HOST=0.0.0.0
EXPOSE 8080
# By number, so that an orchestrator that insists on a non-root user can see that it is one. Nothing is written to the file system.
USER 1000:1000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "/app/dist/cli/main.js", "healthcheck"]
# V8 would take a share of the machine's memory as leave to grow. With these limits the worker stays below 250 MB, whatever the transaction's
# size (npm run bench -- huge-transaction); rows of 100 MB and more need a higher --max-old-space-size.
ENTRYPOINT ["node", "--max-old-space-size=256", "--max-semi-space-size=16", "--heap-growing-percent=60", "/app/dist/cli/main.js"]
CMD ["run"]
