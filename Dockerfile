# Caddy with neuroquantum_ws, at the versions of go.mod:
#
#     docker build -t neuroquantum-ws .
#     docker run -p 80:80 -p 443:443 -p 443:443/udp -v ./Caddyfile:/etc/caddy/Caddyfile -v caddy_data:/data neuroquantum-ws
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /caddy ./cmd/caddy

FROM alpine:3
# Certificates for upstreams and issuers, and setcap so that the server needs no root for ports below 1024.
RUN apk add --no-cache ca-certificates libcap mailcap \
	&& adduser -D -H -u 1000 caddy \
	&& mkdir -p /data /config /etc/caddy \
	&& chown caddy /data /config
COPY --from=build /caddy /usr/bin/caddy
RUN setcap cap_net_bind_service=+ep /usr/bin/caddy
# GODEBUG lets browsers open WebSockets over HTTP/2 (RFC 8441).
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config GODEBUG=http2xconnect=1
VOLUME /data /config
EXPOSE 80 443 443/udp 2019
USER caddy
STOPSIGNAL SIGTERM
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]
