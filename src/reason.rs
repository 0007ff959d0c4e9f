//! Reason codes for responses, logs, metrics and audit events.
//!
//! A variant has its code and its [`Class`], the kind of answer that it leads to. Status, blame and
//! whether trying again can help follow from that. Code
//! compares variants, never codes.

use std::fmt;

use serde::{Serialize, Serializer};

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It succeeded.
    Success,
    /// The request, its token or the policies are at fault: the same request fails again.
    Refused(Part),
    /// No endpoint has this path.
    NotFound,
    /// The endpoint does not take this method.
    MethodNotAllowed,
    /// The request was not complete, or not answered, in time. A repeat finds what was made meanwhile
    /// (RFC 9110 section 15.5.9).
    Slow,
    /// The body or the token is too long.
    TooLarge,
    /// The header fields are too many or too long.
    HeadersTooLarge,
    /// The body is of another media type or coding.
    UnsupportedMedia,
    /// The caller asked too often.
    RateLimited,
    /// The broker or what it depends on is at fault for the moment.
    Unavailable {
        /// Seconds until a repeat may succeed.
        retry_after: u64,
    },
    /// The broker, a target or an issuer is at fault until its operator acts.
    Broken,
    /// A bug of the broker.
    Bug,
    /// The caller closed the connection first.
    Gone,
    /// Only in the log or the audit log: never the answer to a request.
    Unanswered,
}

/// The part of a request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The request as such, its token included.
    Request,
    /// The credential that it names.
    Target,
    /// Its scopes.
    Scope,
    /// Its grant type.
    Grant,
    /// The type of the token to revoke.
    TokenType,
}

/// Who is at fault for an answer: decides its level in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It worked.
    None,
    /// The caller: counted.
    Theirs,
    /// The caller, and an operator should look: a token used twice.
    Suspicious,
    /// The broker or what it depends on: alerts an operator.
    Ours,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal => $class:expr,)+) => {
        /// Why an answer, a log line or an audit event is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code in answers, logs, metrics and audit events, such as `token.expired`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// What it means, for the documentation.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                let text = match self {
                    $(Self::$name => concat!($($doc),+),)+
                };
                text.trim_start()
            }

            /// How a request that ends for this reason is answered.
            #[must_use]
            pub const fn class(self) -> Class {
                match self {
                    $(Self::$name => $class,)+
                }
            }
        }
    };
}

const REFUSED: Class = Class::Refused(Part::Request);
const SOON: Class = Class::Unavailable { retry_after: 1 };
const LATER: Class = Class::Unavailable { retry_after: 5 };
const MUCH_LATER: Class = Class::Unavailable { retry_after: 10 };

reasons! {
    /// The request succeeded.
    Success = "ok" => Class::Success,
    /// The caller closed the connection before the answer.
    ClientGone = "client.gone" => Class::Gone,
    /// `/readyz` of a broker that cannot mint.
    NotReady = "not_ready" => MUCH_LATER,
    /// No endpoint has the path.
    RequestPath = "request.path" => Class::NotFound,
    /// The endpoint does not take the method.
    RequestMethod = "request.method" => Class::MethodNotAllowed,
    /// The `Host` header is missing, repeated, malformed or not an operator host.
    RequestHost = "request.host" => REFUSED,
    /// An unexpected body, or one that ends early.
    RequestBody = "request.body" => REFUSED,
    /// A transfer coding other than `chunked`.
    RequestTransferCoding = "request.transfer_coding" => REFUSED,
    /// Too many or too long header fields.
    RequestHeaders = "request.headers" => Class::HeadersTooLarge,
    /// The request took too long.
    RequestSlow = "request.slow" => Class::Slow,
    /// The body or the subject token is too long.
    RequestSize = "request.size" => Class::TooLarge,
    /// The body is of another media type.
    RequestMediaType = "request.media_type" => Class::UnsupportedMedia,
    /// The body is compressed.
    RequestContentEncoding = "request.content_encoding" => Class::UnsupportedMedia,
    /// Parameters are in the query string.
    RequestQuery = "request.query" => REFUSED,
    /// A parameter is not printable ASCII.
    RequestEncoding = "request.encoding" => REFUSED,
    /// A parameter was sent twice.
    RequestRepeated = "request.repeated" => REFUSED,
    /// Too many parameters.
    RequestParameters = "request.parameters" => REFUSED,
    /// A parameter is missing.
    RequestMissing = "request.missing" => REFUSED,
    /// Another grant than token exchange.
    RequestGrant = "request.grant" => Class::Refused(Part::Grant),
    /// The endpoint does not accept the token type, or not for this credential.
    RequestTokenType = "request.token_type" => REFUSED,
    /// The credential name is malformed, missing or given twice.
    RequestTarget = "request.target" => Class::Refused(Part::Target),
    /// An input is malformed, or the credential does not accept it.
    RequestInput = "request.input" => REFUSED,
    /// The recipient's key of a sealed answer cannot be used.
    RequestEncryptionJwk = "request.encryption_jwk" => REFUSED,
    /// A sealed answer was requested, and this broker is built without sealed delivery.
    RequestSealed = "request.sealed" => REFUSED,
    /// The scopes are malformed.
    RequestScope = "request.scope" => Class::Refused(Part::Scope),
    /// The lifetime is malformed.
    RequestTtl = "request.ttl" => REFUSED,
    /// The `Idempotency-Key` is malformed, or belongs to another request.
    RequestIdempotencyKey = "request.idempotency_key" => REFUSED,
    /// The `Authorization` header is missing or malformed.
    RequestAuthorization = "request.authorization" => REFUSED,
    /// The body is not the JSON object of the endpoint.
    RequestJson = "request.json" => REFUSED,
    /// Not a lease handle of this broker.
    RequestLease = "request.lease" => REFUSED,
    /// The request ended before its intent was recorded.
    RequestGone = "request.gone" => Class::Unanswered,
    /// Not a compact JWS.
    TokenShape = "token.shape" => REFUSED,
    /// Not canonical base64url.
    TokenEncoding = "token.encoding" => REFUSED,
    /// Header or payload is not one strict JSON object.
    TokenJson = "token.json" => REFUSED,
    /// A header member that no CI token needs.
    TokenHeader = "token.header" => REFUSED,
    /// An algorithm that issuer or key may not use.
    TokenAlgorithm = "token.algorithm" => REFUSED,
    /// No usable `kid`, or one that is blocked.
    TokenKey = "token.key" => REFUSED,
    /// The issuer has no such key.
    TokenKeyUnknown = "token.key_unknown" => REFUSED,
    /// The issuer has several such keys.
    TokenKeyAmbiguous = "token.key_ambiguous" => REFUSED,
    /// Not an ID token.
    TokenType = "token.type" => REFUSED,
    /// Not an issuer of the policies, or one that is blocked.
    TokenIssuer = "token.issuer" => REFUSED,
    /// A claim is missing or malformed.
    TokenClaim = "token.claim" => REFUSED,
    /// Past `exp`.
    TokenExpired = "token.expired" => REFUSED,
    /// The signature is invalid.
    TokenSignature = "token.signature" => REFUSED,
    /// Issued for another audience.
    TokenAudience = "token.audience" => REFUSED,
    /// Before `nbf` or `iat`.
    TokenNotYet = "token.not_yet" => REFUSED,
    /// `exp - iat` is above the issuer's `max_lifetime`.
    TokenLifetime = "token.lifetime" => REFUSED,
    /// Issued longer ago than the issuer's `max_age`.
    TokenAge = "token.age" => REFUSED,
    /// `sub` is missing or malformed.
    TokenSubject = "token.subject" => REFUSED,
    /// A verified token has a claim that its provider did not send before; it is served.
    TokenNewClaim = "token.new_claim" => Class::Unanswered,
    /// The token was already used for this credential.
    TokenReplayed = "token.replayed" => REFUSED,
    /// Issued before the record of used tokens begins.
    TokenBeforeStart = "token.before_start" => REFUSED,
    /// A key set is malformed.
    KeysDocument = "keys.document" => LATER,
    /// A key set's address is not allowed.
    KeysAddress = "keys.address" => LATER,
    /// A key set could not be fetched.
    KeysFetch = "keys.fetch" => LATER,
    /// No key set of the issuer was loaded yet.
    KeysUnavailable = "keys.unavailable" => LATER,
    /// The last key set of the issuer is too old.
    KeysStale = "keys.stale" => LATER,
    /// The issuer publishes a key of this broker.
    KeysOwn = "keys.own" => Class::Broken,
    /// The issuer publishes a key of `hallpass dev`.
    KeysDev = "keys.dev" => Class::Broken,
    /// The broker's own key set cannot be derived.
    KeysSigning = "keys.signing" => LATER,
    /// The issuer publishes no usable key.
    KeysEmpty = "keys.empty" => Class::Unanswered,
    /// A key of the issuer was ignored.
    KeysRejected = "keys.rejected" => Class::Unanswered,
    /// The issuer publishes a private key.
    KeysPrivateMember = "keys.private_member" => Class::Unanswered,
    /// Sent to unrelated callers instead of the reason.
    PolicyDenied = "policy.denied" => REFUSED,
    /// No policy for the repository names the run's trigger.
    PolicyTrigger = "policy.trigger" => REFUSED,
    /// The job belongs to no tenant of a shared issuer.
    PolicyTenant = "policy.tenant" => REFUSED,
    /// No policy names the job's repository.
    PolicyUnrelated = "policy.stranger" => REFUSED,
    /// No such credential.
    PolicyCredential = "policy.credential" => Class::Refused(Part::Target),
    /// No policy for the repository grants the credential.
    PolicyNotGranted = "policy.not_granted" => REFUSED,
    /// The job does not meet the conditions.
    PolicyConditions = "policy.conditions" => REFUSED,
    /// More scopes than granted.
    PolicyScope = "policy.scope" => Class::Refused(Part::Scope),
    /// A longer lifetime than granted.
    PolicyTtl = "policy.ttl" => REFUSED,
    /// The job does not meet a requirement.
    PolicyRequirement = "policy.requirement" => REFUSED,
    /// A lint finding in the served policies.
    PolicyFinding = "policy.finding" => Class::Unanswered,
    /// How many findings there are.
    PolicyFindings = "policy.findings" => Class::Unanswered,
    /// New policies are in use.
    PolicyReloaded = "policy.reloaded" => Class::Unanswered,
    /// The policies could not be loaded, or do not match the settings.
    PolicyReloadFailed = "policy.reload_failed" => Class::Unanswered,
    /// The limit of open requests or connections is reached.
    LimitBusy = "limit.busy" => SOON,
    /// A served client cannot be read, must not be served, or changed while it was sent.
    ClientsFile = "clients.file" => Class::Broken,
    /// The repository exceeded its rate limit.
    LimitRate = "limit.rate" => Class::RateLimited,
    /// The store of used tokens is unavailable.
    LimitReplay = "limit.replay" => LATER,
    /// The clock jumped, or is wrong.
    ClockJump = "clock.jump" => MUCH_LATER,
    /// The clock is outside the years 1970 to 9999.
    ClockRange = "clock.range" => MUCH_LATER,
    /// A required audit sink rejects events.
    SinkFailed = "sink.failed" => LATER,
    /// An audit sink works again.
    SinkWorks = "sink.works" => Class::Unanswered,
    /// The file beside the audit file that keeps its head cannot be used.
    AuditHead = "audit.head" => Class::Unanswered,
    /// The audit file was renamed.
    AuditRenamed = "audit.renamed" => Class::Unanswered,
    /// The audit file was removed.
    AuditRemoved = "audit.removed" => Class::Unanswered,
    /// The audit file was truncated.
    AuditTruncated = "audit.truncated" => Class::Unanswered,
    /// The credential was not issued in time.
    MintSlow = "mint.slow" => LATER,
    /// The random source failed.
    MintRandom = "mint.random" => LATER,
    /// A token or certificate could not be signed.
    SigningFailed = "signing.failed" => LATER,
    /// A credential's audience is the broker's own.
    AudienceBroker = "audience.broker" => LATER,
    /// A name or fact is too long for the token or certificate.
    ClaimsTooLong = "claims.too_long" => REFUSED,
    /// The credential would have expired already.
    CredentialExpired = "credential.expired" => REFUSED,
    /// A credential reached the mint of another kind.
    CredentialKind = "credential.kind" => Class::Broken,
    /// The target is not in the settings.
    TargetUnknown = "target.unknown" => Class::Broken,
    /// The target's server failed several times in a row, so its requests are refused until it answers.
    TargetPaused = "target.paused" => LATER,
    /// The target's server answers again.
    TargetWorks = "target.works" => Class::Unanswered,
    /// The target does not list the database.
    TargetDatabase = "target.database" => LATER,
    /// A target of the new settings could not be set up, or a file that it names cannot be used.
    TargetReloadFailed = "target.reload_failed" => Class::Unanswered,
    /// The target's credentials cannot be revoked.
    LeaseNone = "lease.none" => REFUSED,
    /// The lease handle could not be sealed.
    LeaseSeal = "lease.seal" => LATER,
    /// The credential has another group or database in the policies now.
    LeaseChanged = "lease.changed" => REFUSED,
    /// The login issued for the token has ended.
    LeaseOver = "lease.over" => REFUSED,
    /// The login that the tokens of a subject share was revoked; the next request gets another one.
    LeaseRevoked = "lease.revoked" => SOON,
    /// A login could not be removed.
    LeaseLeft = "lease.left" => Class::Unanswered,
    /// A login has a record that no key of this broker signed.
    LeaseForeign = "lease.stranger" => Class::Unanswered,
    /// The database cannot be reached.
    DatabaseUnreachable = "database.unreachable" => LATER,
    /// The database did not answer.
    DatabaseUnknown = "database.unknown" => LATER,
    /// The database refused the login.
    DatabaseRefused = "database.refused" => LATER,
    /// The target's limit of logins is reached.
    DatabaseFull = "database.full" => LATER,
    /// The target's limit of logins per repository is reached.
    DatabaseRepositoryFull = "database.repository_full" => LATER,
    /// The target does not offer the group.
    DatabaseGroup = "database.group" => Class::Broken,
    /// The target allows less than the policies grant.
    DatabaseCeiling = "database.ceiling" => Class::Broken,
    /// The functions of the target are not installed.
    DatabaseNotInstalled = "database.not_installed" => Class::Broken,
    /// The functions of the target are of an older version.
    DatabaseOutdated = "database.outdated" => Class::Broken,
    /// The server's error message for a login that was not created.
    DatabaseMint = "database.mint" => Class::Unanswered,
    /// A sweep failed.
    DatabaseSweep = "database.sweep" => Class::Unanswered,
    /// An interrupted clean-up was undone.
    DatabaseRecovered = "database.recovered" => Class::Unanswered,
    /// Sessions on a standby could not be ended.
    DatabaseStandby = "database.standby" => Class::Unanswered,
    /// The store of used tokens starts a new record.
    ReplayBegan = "replay.began" => Class::Unanswered,
    /// Redis may evict keys of the store of used tokens.
    ReplayPolicy = "replay.policy" => Class::Unanswered,
    /// A root key now signs that was not published before.
    RootkeyNotPublished = "rootkey.not_published" => Class::Unanswered,
    /// The root keys could not be loaded.
    RootkeyReloadFailed = "rootkey.reload_failed" => Class::Unanswered,
    /// An RS256 key now signs that was not published before.
    SigningNotPublished = "signing.not_published" => Class::Unanswered,
    /// The RS256 key files could not be loaded.
    SigningReloadFailed = "signing.reload_failed" => Class::Unanswered,
    /// The TLS certificate could not be loaded.
    TlsReloadFailed = "tls.reload_failed" => Class::Unanswered,
    /// A target now signs with another key.
    TargetKey = "target.key" => Class::Unanswered,
    /// New settings are in use.
    SettingsReloaded = "settings.reloaded" => Class::Unanswered,
    /// The settings could not be loaded; the previous settings stay in use.
    SettingsReloadFailed = "settings.reload_failed" => Class::Unanswered,
    /// Changed settings need a restart.
    SettingsRestartNeeded = "settings.restart_needed" => Class::Unanswered,
    /// A signal asked for a reload.
    ReloadAsked = "reload.asked" => Class::Unanswered,
    /// Everything on disk is loaded again.
    ReloadMended = "reload.mended" => Class::Unanswered,
    /// Connections cannot be accepted.
    ListenerAccept = "listener.accept" => Class::Unanswered,
    /// Requests did not end within the grace time.
    ListenerGrace = "listener.grace" => Class::Unanswered,
    /// A listener stopped because of a bug.
    ListenerPanic = "listener.panic" => Class::Unanswered,
    /// Core dumps could not be disabled.
    ProcessCoreDumps = "process.core_dumps" => Class::Unanswered,
    /// Fewer open files are allowed than connections.
    ProcessOpenFiles = "process.open_files" => Class::Unanswered,
    /// An exchange could not be finished at shutdown.
    ExchangeAbandoned = "exchange.abandoned" => Class::Unanswered,
    /// A panic.
    BugPanic = "bug.panic" => Class::Bug,
    /// A cryptographic operation on a lease handle failed.
    BugLease = "bug.lease" => Class::Bug,
    /// The answer could not be sealed.
    BugSeal = "bug.seal" => Class::Bug,
}

impl Reason {
    /// The reason of a code, as a client reads it.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.code() == code)
    }

    /// Who is at fault.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match (self, self.class()) {
            (Self::TokenReplayed, _) => Fault::Suspicious,
            // The one who asks for readiness is answered; what is not ready has lines of its own.
            // A holder of the login ended it, too.
            (Self::NotReady | Self::LeaseRevoked, _) => Fault::Theirs,
            (_, class) => class.fault(),
        }
    }

    /// Whether the broker or what it depends on is at fault, not the request.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self.fault(), Fault::Ours)
    }

    /// Whether trying again does not help until an operator acts.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self.class(), Class::Broken)
    }
}

impl Class {
    const fn fault(self) -> Fault {
        match self {
            Self::Success => Fault::None,
            Self::Refused(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Slow
            | Self::TooLarge
            | Self::HeadersTooLarge
            | Self::UnsupportedMedia
            | Self::RateLimited
            | Self::Gone => Fault::Theirs,
            Self::Unavailable { .. } | Self::Broken | Self::Bug | Self::Unanswered => Fault::Ours,
        }
    }

    /// The HTTP status. 499 is what proxies write for a client that went away.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Success => 200,
            Self::Refused(_) => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Slow => 408,
            Self::TooLarge => 413,
            Self::UnsupportedMedia => 415,
            Self::RateLimited => 429,
            Self::HeadersTooLarge => 431,
            Self::Gone => 499,
            Self::Bug | Self::Unanswered => 500,
            Self::Unavailable { .. } | Self::Broken => 503,
        }
    }

    /// Seconds after which the same request may succeed; `None` where it does not, or where only the
    /// request itself knows.
    #[must_use]
    pub const fn retry_after(self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after } => Some(retry_after),
            Self::Slow => Some(1),
            Self::Success
            | Self::Refused(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::TooLarge
            | Self::HeadersTooLarge
            | Self::UnsupportedMedia
            | Self::RateLimited
            | Self::Broken
            | Self::Bug
            | Self::Gone
            | Self::Unanswered => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
