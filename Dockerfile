# Built in one stage, run in a slim other one, as a user without rights.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY migrations migrations
RUN cargo build --release --locked --bin floeberg

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data floeberg && mkdir /data && chown floeberg /data
COPY --from=build /src/target/release/floeberg /usr/local/bin/floeberg
USER floeberg
WORKDIR /data
VOLUME /data
EXPOSE 8181
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["floeberg", "check", "--url", "http://127.0.0.1:8181"]
ENTRYPOINT ["floeberg"]
# There is no authentication yet: put this only into a network that is yours alone.
CMD ["serve", "--listen", "0.0.0.0:8181", "--data-dir", "/data", "--insecure-no-auth"]
