//! What is measured: one line each.

/// One measurement.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) load: Load,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Reads the request and answers as long a text.
    Echo,
    /// The echo, one RS256 signature verified and one ES256 signature made.
    Ceiling,
    Hallpass(Broker),
}

/// How the broker is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) policies: usize,
    /// Each audit line is on the disk before the credential is minted.
    pub(crate) durable: bool,
    /// Writes a log line for each request.
    pub(crate) logs: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// False: a new TCP connection for each request.
    pub(crate) keep_alive: bool,
    pub(crate) request: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A token that is exchanged for a JWT.
    Exchange,
    /// A token whose signature is of another key.
    BadSignature,
    /// A token of an issuer that the policies do not name.
    UnknownIssuer,
    /// What the job would get.
    Explain,
}

impl Case {
    pub(crate) fn is_ceiling(&self) -> bool {
        self.server == Server::Ceiling
    }
}

const USUAL: Broker = Broker {
    policies: 10_000,
    durable: false,
    logs: true,
};
pub(crate) const EIGHT: Load = Load {
    connections: 8,
    keep_alive: true,
    request: Request::Exchange,
};

/// A start that takes little.
pub(crate) const FEW_POLICIES: Broker = Broker {
    policies: 10,
    ..USUAL
};

const fn policies(policies: usize) -> Server {
    Server::Hallpass(Broker { policies, ..USUAL })
}

const fn with(request: Request) -> Load {
    Load { request, ..EIGHT }
}

pub(crate) const CASES: [Case; 14] = [
    Case {
        name: "ceiling",
        server: Server::Ceiling,
        load: EIGHT,
    },
    Case {
        name: "echo",
        server: Server::Echo,
        load: EIGHT,
    },
    Case {
        name: "exchange, 10 policies",
        server: policies(10),
        load: EIGHT,
    },
    Case {
        name: "exchange, 1,000 policies",
        server: policies(1_000),
        load: EIGHT,
    },
    Case {
        name: "exchange, 10,000 policies",
        server: policies(10_000),
        load: EIGHT,
    },
    Case {
        name: "exchange, 100,000 policies",
        server: policies(100_000),
        load: EIGHT,
    },
    Case {
        name: "exchange, 64 connections",
        server: Server::Hallpass(USUAL),
        load: Load {
            connections: 64,
            ..EIGHT
        },
    },
    Case {
        name: "exchange, one connection",
        server: Server::Hallpass(USUAL),
        load: Load {
            connections: 1,
            ..EIGHT
        },
    },
    Case {
        name: "exchange, no log lines",
        server: Server::Hallpass(Broker {
            logs: false,
            ..USUAL
        }),
        load: EIGHT,
    },
    Case {
        name: "exchange, durable audit",
        server: Server::Hallpass(Broker {
            durable: true,
            ..USUAL
        }),
        load: EIGHT,
    },
    Case {
        name: "exchange, new connection each",
        server: Server::Hallpass(USUAL),
        load: Load {
            keep_alive: false,
            ..EIGHT
        },
    },
    Case {
        name: "explain",
        server: Server::Hallpass(USUAL),
        load: with(Request::Explain),
    },
    Case {
        name: "refused: bad signature",
        server: Server::Hallpass(USUAL),
        load: with(Request::BadSignature),
    },
    Case {
        name: "refused: unknown issuer",
        server: Server::Hallpass(USUAL),
        load: with(Request::UnknownIssuer),
    },
];
