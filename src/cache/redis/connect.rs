//! Connections to a Redis: one server, the one that sentinels name, or a cluster.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};

use super::fault::Fault;
use crate::config::settings::redis::{RedisAddress, RedisServer};

/// A connection on which many operations may be under way. Cheap to clone.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Server(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

/// Longest time to connect, TLS, password and the sentinels' answer included. Never on a request's path.
const CONNECT: Duration = Duration::from_secs(1);

/// Opens connections.
pub(super) struct Connector {
    server: RedisServer,
}

impl Connector {
    /// For a Redis.
    pub(super) fn new(server: &RedisServer) -> Connector {
        if server.tls {
            // The redis crate takes the process's provider; the first who installs one is as good as the next.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        Connector { server: server.clone() }
    }

    /// Connects; operations on the connection end after `patience` for good.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Connection, Fault> {
        let certificates = self.certificates().await?;
        match tokio::time::timeout(CONNECT, self.try_connect(patience, certificates.as_ref())).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(redis = %self.server, %error, "cannot connect to Redis");
                Err(Fault::of(&error))
            }
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// What TLS believes; the file is read anew each time, so that it may be replaced.
    async fn certificates(&self) -> Result<Option<TlsCertificates>, Fault> {
        if !self.server.tls {
            return Ok(None);
        }
        let root_cert = match &self.server.ca_file {
            Some(file) => Some(tokio::fs::read(file).await.map_err(|_| Fault::CaFile)?),
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls: None, root_cert }))
    }

    async fn try_connect(&self, patience: Duration, certificates: Option<&TlsCertificates>) -> RedisResult<Connection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(patience));
        let client = match &self.server.address {
            RedisAddress::Server(host, port) => self.client(self.address(host, *port), certificates)?,
            RedisAddress::Unix(path) => self.client(ConnectionAddr::Unix(path.clone()), certificates)?,
            RedisAddress::Sentinel { sentinels, master } => self.named_by(sentinels, master, certificates).await?,
            RedisAddress::Cluster(nodes) => {
                return self.cluster(nodes, patience, certificates).await.map(Connection::Cluster);
            }
        };
        client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
    }

    fn client(&self, address: ConnectionAddr, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
        let info = self.info(address)?;
        match (certificates, info.addr()) {
            (Some(certificates), ConnectionAddr::TcpTls { .. }) => Client::build_with_tls(info, certificates.clone()),
            _ => Client::open(info),
        }
    }

    fn info(&self, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
        let mut login = RedisConnectionInfo::default().set_db(self.server.database).set_skip_set_lib_name();
        if let Some(username) = &self.server.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.server.password {
            login = login.set_password(password);
        }
        Ok(address.into_connection_info()?.set_tcp_settings(tcp()).set_redis_settings(login))
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.server.tls {
            true => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }

    /// Asks the sentinels anew each time: after a failover they name another server.
    async fn named_by(
        &self,
        sentinels: &[(String, u16)],
        master: &str,
        certificates: Option<&TlsCertificates>,
    ) -> RedisResult<Client> {
        let addresses = sentinels.iter().map(|(host, port)| self.address(host, *port));
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.server.database)
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if let Some(username) = &self.server.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.server.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(password) = &self.server.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()?.async_get_client().await
    }

    async fn cluster(
        &self,
        nodes: &[(String, u16)],
        patience: Duration,
        certificates: Option<&TlsCertificates>,
    ) -> RedisResult<ClusterConnection> {
        let nodes =
            nodes.iter().map(|(host, port)| self.info(self.address(host, *port))).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(CONNECT)
            .response_timeout(patience)
            .tcp_settings(tcp())
            .retries(4)
            .min_retry_wait(1)
            .max_retry_wait(20);
        if let Some(certificates) = certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()?.get_async_connection().await
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Server(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Server(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
