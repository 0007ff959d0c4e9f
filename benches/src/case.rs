//! What is measured as CPU time of a request: one line each.

use crate::broker::Broker;
use crate::load::{Load, kept};
use crate::peers::Peer;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) load: Load,
    pub(crate) request: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Reads the request and answers as long a text.
    Echo {
        tls: bool,
    },
    /// The echo, one RS256 signature verified and one ES256 signature made.
    Ceiling {
        tls: bool,
    },
    Hallpass(Broker),
    Peer(Peer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A token that is exchanged for a JWT.
    Exchange,
    /// One that is exchanged for an SSH certificate.
    Ssh,
    /// A token whose signature is of another key.
    BadSignature,
    /// A token of an issuer that the policies do not name.
    UnknownIssuer,
    /// What the job would get.
    Explain,
}

impl Case {
    pub(crate) fn is_ceiling(&self) -> bool {
        self.server == Server::Ceiling { tls: false }
    }

    /// The same on eight connections.
    const fn new(name: &'static str, server: Server) -> Self {
        Self {
            name,
            server,
            load: kept(8),
            request: Request::Exchange,
        }
    }

    const fn on(self, connections: usize) -> Self {
        Self {
            load: kept(connections),
            ..self
        }
    }

    /// A new connection for each request.
    const fn new_connections(self) -> Self {
        Self {
            load: Load {
                keep_alive: false,
                ..self.load
            },
            ..self
        }
    }

    const fn with(self, request: Request) -> Self {
        Self { request, ..self }
    }
}

const USUAL: Broker = Broker {
    policies: 10_000,
    durable: false,
    logs: true,
    tls: false,
};

/// A start that takes little.
pub(crate) const FEW_POLICIES: Broker = Broker {
    policies: 10,
    ..USUAL
};

const HALLPASS: Server = Server::Hallpass(USUAL);
const DURABLE: Server = Server::Hallpass(Broker {
    durable: true,
    ..USUAL
});

pub(crate) const fn with_policies(policies: usize) -> Broker {
    Broker { policies, ..USUAL }
}

const fn policies(policies: usize) -> Server {
    Server::Hallpass(with_policies(policies))
}

pub(crate) const CASES: [Case; 22] = [
    Case::new("ceiling", Server::Ceiling { tls: false }),
    Case::new("echo", Server::Echo { tls: false }),
    Case::new("exchange, 10 policies", policies(10)),
    Case::new("exchange, 1,000 policies", policies(1_000)),
    Case::new("exchange, 10,000 policies", policies(10_000)),
    Case::new("exchange, 100,000 policies", policies(100_000)),
    Case::new("exchange, 64 connections", HALLPASS).on(64),
    Case::new(
        "exchange, no log lines",
        Server::Hallpass(Broker {
            logs: false,
            ..USUAL
        }),
    ),
    Case::new("exchange, durable audit", DURABLE),
    Case::new("one exchange at a time", HALLPASS).on(1),
    Case::new("one exchange at a time, durable audit", DURABLE).on(1),
    Case::new("exchange, new connection each", HALLPASS).new_connections(),
    Case::new("echo, new TLS connection each", Server::Echo { tls: true }).new_connections(),
    Case::new(
        "ceiling, new TLS connection each",
        Server::Ceiling { tls: true },
    )
    .new_connections(),
    Case::new(
        "exchange, new TLS connection each",
        Server::Hallpass(Broker { tls: true, ..USUAL }),
    )
    .new_connections(),
    Case::new("SSH certificate", HALLPASS).with(Request::Ssh),
    Case::new("explain", HALLPASS).with(Request::Explain),
    Case::new("refused: bad signature", HALLPASS).with(Request::BadSignature),
    Case::new("refused: unknown issuer", HALLPASS).with(Request::UnknownIssuer),
    Case::new("peer: node:http and jose", Server::Peer(Peer::Jose)),
    Case::new("peer: oidc-provider", Server::Peer(Peer::OidcProvider)),
    Case::new("peer: Starlette and joserfc", Server::Peer(Peer::Starlette)),
];
