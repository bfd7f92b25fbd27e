//! AMD's Key Distribution Service (AMD publication 57230): what it is asked, and how.
//!
//! Whatever comes back is bytes from the network. Nothing here verifies them.

mod client;
mod rest;

use std::{
    fmt::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use data_encoding::HEXLOWER;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    Client, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use self::rest::Rests;
use crate::metrics::{self, Count};
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    report::Report,
    vek::{Identity, Vek},
};

/// What names one VCEK: a chip and the TCB that it reports. Its certificate never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VcekId {
    product: Product,
    hwid: Vec<u8>,
    tcb: TcbVersion,
}

impl VcekId {
    /// The VCEK that should have signed `report`, if its chip is one of `product`. `None` if it cannot be:
    /// the chip id is masked, of another product's length, or the reported TCB is not in the product's
    /// layout.
    pub fn of(report: &Report, product: Product) -> Option<Self> {
        let (hwid, rest) = report.chip_id().split_at_checked(product.hwid_len())?;
        let masked = hwid.iter().all(|byte| *byte == 0);
        // No chip with an id of 64 bytes has zeros behind the eighth.
        let short = report.chip_id().iter().skip(8).all(|byte| *byte == 0);
        if masked || rest.iter().any(|byte| *byte != 0) || short != (product == Product::Turin) {
            return None;
        }
        Some(Self { product, hwid: hwid.to_vec(), tcb: report.reported_tcb(product)? })
    }

    /// The VCEK of a chip at a TCB. `None` unless both are in the form of `product`'s: `hwid` of its length
    /// and not all zeros, an FMC level on Turin alone.
    pub fn new(product: Product, hwid: &[u8], tcb: TcbVersion) -> Option<Self> {
        let masked = hwid.iter().all(|byte| *byte == 0);
        let fits = hwid.len() == product.hwid_len() && tcb.fmc.is_some() == (product == Product::Turin);
        (fits && !masked).then(|| Self { product, hwid: hwid.to_vec(), tcb })
    }

    /// The VCEK that `vek` certifies. `None` for a VLEK.
    pub fn of_certificate(vek: &Vek) -> Option<Self> {
        match &vek.identity {
            Identity::Chip(hwid) => Self::new(vek.product, hwid, vek.tcb),
            Identity::Provider(_) => None,
        }
    }

    /// Reads the key in the endorsement cache, as it is displayed.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (product, hwid, tcb) = (parts.next()?, parts.next()?, parts.next()?);
        let product = Product::ALL.into_iter().find(|known| known.name() == product)?;
        let mut levels = Vec::new();
        for level in tcb.split('.') {
            levels.push(level.parse().ok()?);
        }
        let (fmc, levels) = match (product, levels.as_slice()) {
            (Product::Turin, [fmc, levels @ ..]) => (Some(*fmc), levels),
            (_, levels) => (None, levels),
        };
        let [boot_loader, tee, snp, microcode] = *levels else { return None };
        let tcb = TcbVersion { fmc, boot_loader, tee, snp, microcode };
        let id = Self::new(product, &HEXLOWER.decode(hwid.as_bytes()).ok()?, tcb)?;
        (id.to_string() == key).then_some(id)
    }

    /// The chip's HWID: 64 bytes, 8 on Turin.
    pub fn hwid(&self) -> &[u8] {
        &self.hwid
    }

    /// The TCB that the key is derived for.
    pub fn tcb(&self) -> TcbVersion {
        self.tcb
    }

    /// The product that it is asked for under.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Whether `vek` is the certificate of this very VCEK.
    pub fn names(&self, vek: &Vek) -> bool {
        matches!(&vek.identity, Identity::Chip(hwid) if *hwid == self.hwid)
            && vek.product == self.product
            && vek.tcb == self.tcb
    }

    /// `/vcek/v1/Milan/<hwid>?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115`; on Turin with `fmcSPL` first.
    pub fn path(&self) -> String {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        let mut path = format!("/vcek/v1/{}/{}?", self.product, HEXLOWER.encode(&self.hwid));
        if let Some(fmc) = fmc {
            // Writing to a String cannot fail.
            let _ = write!(path, "fmcSPL={fmc:02}&");
        }
        let _ =
            write!(path, "blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
        path
    }
}

impl fmt::Display for VcekId {
    /// The key in the endorsement cache: `Milan/<hwid>/3.0.8.115`, with the FMC's level first on Turin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TcbVersion { fmc, boot_loader, tee, snp, microcode } = self.tcb;
        write!(f, "{}/{}/", self.product, HEXLOWER.encode(&self.hwid))?;
        if let Some(fmc) = fmc {
            write!(f, "{fmc}.")?;
        }
        write!(f, "{boot_loader}.{tee}.{snp}.{microcode}")
    }
}

/// Path of the chain of a product's VCEKs or VLEKs: PEM, ASK or ASVK, then ARK.
pub fn chain_path(product: Product, kind: EndorsementKind) -> String {
    format!("/{}/v1/{product}/cert_chain", kind.name())
}

/// Path of a product's CRL: DER.
pub fn crl_path(product: Product, kind: EndorsementKind) -> String {
    format!("/{}/v1/{product}/crl", kind.name())
}

/// Why KDS gave no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdsError {
    /// It says that there is no such thing.
    #[error("AMD's KDS knows no such certificate")]
    NotFound,
    /// It turned the request away for now.
    #[error("AMD's KDS answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// After how many seconds it wants to be asked again.
        retry_after: Option<u64>,
    },
    /// It did not answer, or not in time. The text has the whole chain of causes, and neither path nor host.
    #[error("AMD's KDS did not answer: {0}")]
    Silent(String),
    /// No client can be made for it.
    #[error("AMD's KDS cannot be asked: {0}")]
    Client(String),
    /// The answer is larger than any certificate.
    #[error("AMD's KDS sent more than a certificate's worth")]
    TooLarge,
    /// This process has all the requests under way that it allows itself.
    #[error("too many requests to AMD's KDS are under way")]
    Busy,
}

impl KdsError {
    /// Whether KDS, or the way to it, failed: another attempt may do better. All else is an answer.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Silent(_) => true,
            Self::NotFound | Self::TooLarge | Self::Busy | Self::Client(_) => false,
        }
    }
}

/// A client of AMD's KDS. Its connection and TLS roots are made with the first request.
#[derive(Debug)]
pub struct Kds {
    base: String,
    authorities: Vec<u8>,
    client: OnceLock<Client>,
    permits: Semaphore,
    rests: Rests,
}

impl Kds {
    /// AMD's own.
    pub const AMD: &'static str = "https://kdsintf.amd.com";
    /// All attempts at one certificate together may take this long.
    pub const BUDGET: Duration = Duration::from_secs(10);
    /// One attempt may take this long, so that one that hangs leaves room for another.
    const ATTEMPT: Duration = Duration::from_secs(4);
    const ATTEMPTS: usize = 3;
    /// The pause before the second attempt, at least.
    const PAUSE: Duration = Duration::from_millis(200);
    /// Requests for certificates under way at once.
    pub(crate) const CONCURRENCY: usize = 4;
    /// Larger than any certificate, chain or CRL of AMD's.
    const MAX_BODY: usize = 64 * 1024;

    /// A client of the service at `base` (scheme and host, without a slash behind). TLS is also believed of
    /// servers that one of `authorities` vouches for: certificates in PEM, or nothing.
    pub fn new(base: impl Into<String>, authorities: impl Into<Vec<u8>>) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self {
            base,
            authorities: authorities.into(),
            client: OnceLock::new(),
            permits: Semaphore::new(Self::CONCURRENCY),
            rests: Rests::default(),
        }
    }

    /// Whether the client can be made, with the authorities that it was given. Connects to nothing.
    pub fn check(&self) -> Result<(), KdsError> {
        self.client().map(|_| ())
    }

    /// Asks for the certificate or chain at `path`, up to three times within `budget` in all. A Retry-After
    /// is honoured where it fits.
    pub async fn fetch(&self, path: &str, budget: Duration) -> Result<Vec<u8>, KdsError> {
        let deadline = Instant::now() + budget;
        let under_way = self.rests.enter(path);
        let permitted = || async {
            let permit = timeout_at(deadline, self.permits.acquire()).await;
            let Ok(Ok(_permit)) = permit else { return Err(KdsError::Busy) };
            // Another may have been turned away while this one waited.
            under_way.check()?;
            self.attempt(path, deadline).await.inspect_err(|error| under_way.note(error))
        };
        retried(permitted, deadline).await
    }

    /// The same for the CRL at `path`. It takes no permit and minds no rest: what guests' chips are asked for
    /// must not keep a list from being renewed. The caller asks for one list once at a time, so that there is
    /// never more than one request per product and kind under way beside those of [`Kds::fetch`].
    pub async fn fetch_crl(&self, path: &str, budget: Duration) -> Result<Vec<u8>, KdsError> {
        let deadline = Instant::now() + budget;
        retried(|| self.attempt(path, deadline), deadline).await
    }

    /// Whether the service answers at all, and the time that it says it is: for an operator, once.
    pub async fn probe(&self) -> Result<Option<Timestamp>, KdsError> {
        let url = format!("{}{}", self.base, chain_path(Product::Milan, EndorsementKind::Vcek));
        let answer = async { self.client()?.get(url).send().await.map_err(client::silent) };
        let answer = timeout(Self::ATTEMPT, answer).await;
        let response = answer.unwrap_or_else(|_| Err(KdsError::Silent("time ran out".to_owned())))?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        match response.status() {
            StatusCode::OK => Ok(date),
            status => Err(KdsError::Status { status: status.as_u16(), retry_after: None }),
        }
    }

    async fn attempt(&self, path: &str, deadline: Instant) -> Result<Vec<u8>, KdsError> {
        let deadline = deadline.min(Instant::now() + Self::ATTEMPT);
        let answer = timeout_at(deadline, self.get(path)).await;
        answer.unwrap_or_else(|_| Err(KdsError::Silent("time ran out".to_owned())))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, KdsError> {
        let url = format!("{}{path}", self.base);
        let response = self.client()?.get(url).send().await.map_err(client::silent)?;
        match response.status() {
            StatusCode::OK => body(response).await,
            StatusCode::NOT_FOUND => Err(KdsError::NotFound),
            status => {
                if status == StatusCode::TOO_MANY_REQUESTS {
                    metrics::count(Count::KdsThrottled);
                }
                let retry_after = response.headers().get(RETRY_AFTER);
                let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Err(KdsError::Status { status: status.as_u16(), retry_after })
            }
        }
    }

    fn client(&self) -> Result<&Client, KdsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client::build(&self.base, &self.authorities)?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Makes an attempt, and others after it while the error is a passing one and there is time.
async fn retried<F>(attempt: impl FnMut() -> F, deadline: Instant) -> Result<Vec<u8>, KdsError>
where
    F: Future<Output = Result<Vec<u8>, KdsError>>,
{
    let retries =
        ExponentialBuilder::new().with_min_delay(Kds::PAUSE).with_max_times(Kds::ATTEMPTS - 1).with_jitter();
    attempt
        .retry(retries)
        .sleep(tokio::time::sleep)
        .when(KdsError::is_passing)
        .adjust(|error, delay| {
            let delay = match error {
                KdsError::Status { retry_after: Some(seconds), .. } => {
                    delay.map(|delay| delay.max(Duration::from_secs(*seconds)))
                }
                _ => delay,
            };
            delay.filter(|delay| *delay < deadline.saturating_duration_since(Instant::now()))
        })
        .await
}

async fn body(mut response: Response) -> Result<Vec<u8>, KdsError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(client::silent)? {
        if body.len() + chunk.len() > Kds::MAX_BODY {
            return Err(KdsError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(chip_id: &[u8], tcb: [u8; 8]) -> Report {
        let mut bytes = [0; Report::SIZE];
        bytes[0] = 2;
        bytes[0x34] = 1;
        bytes[0x180..0x188].copy_from_slice(&tcb);
        bytes[0x1A0..0x1A0 + chip_id.len()].copy_from_slice(chip_id);
        Report::parse(&bytes).unwrap()
    }

    #[test]
    fn milans_url_has_the_long_id_and_four_levels() {
        let report = report(&[0xAB; 64], [3, 0, 0, 0, 0, 0, 8, 115]);
        let id = VcekId::of(&report, Product::Milan).unwrap();
        let hwid = "ab".repeat(64);
        assert_eq!(id.path(), format!("/vcek/v1/Milan/{hwid}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"));
        assert_eq!(id.to_string(), format!("Milan/{hwid}/3.0.8.115"));
    }

    #[test]
    fn turins_url_has_the_short_id_and_five_levels() {
        let report = report(&[0xAB; 8], [1, 2, 3, 4, 0, 0, 0, 81]);
        let id = VcekId::of(&report, Product::Turin).unwrap();
        assert_eq!(
            id.path(),
            "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=81"
        );
        assert_eq!(id.to_string(), "Turin/abababababababab/1.2.3.4.81");
    }

    #[test]
    fn a_key_of_the_cache_is_read_as_it_is_written() {
        let tcb = TcbVersion { fmc: None, boot_loader: 3, tee: 0, snp: 8, microcode: 115 };
        let turin = TcbVersion { fmc: Some(1), ..tcb };
        for id in [
            VcekId::new(Product::Milan, &[0xAB; 64], tcb).unwrap(),
            VcekId::new(Product::Turin, &[0xAB; 8], turin).unwrap(),
        ] {
            assert_eq!(VcekId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(VcekId::new(Product::Milan, &[0xAB; 8], tcb), None);
        assert_eq!(VcekId::new(Product::Turin, &[0xAB; 8], tcb), None);
        assert_eq!(VcekId::new(Product::Milan, &[0; 64], tcb), None);
        let hwid = "ab".repeat(64);
        for key in [
            "Milan/vcek/chain",
            "Milan/vcek/crl/silence",
            &format!("milan/{hwid}/3.0.8.115"),
            &format!("Milan/{hwid}/3.0.8"),
            &format!("Milan/{hwid}/03.0.8.115"),
            &format!("Milan/{hwid}/3.0.8.115/x"),
            &format!("Turin/{hwid}/1.3.0.8.115"),
        ] {
            assert_eq!(VcekId::parse(key), None, "{key}");
        }
    }

    #[test]
    fn a_masked_chip_is_never_asked_for() {
        for product in Product::ALL {
            assert_eq!(VcekId::of(&report(&[0; 64], [0; 8]), product), None);
        }
    }

    #[test]
    fn the_length_of_the_chip_id_must_be_the_products() {
        assert_eq!(VcekId::of(&report(&[0xAB; 64], [0; 8]), Product::Turin), None);
        assert_eq!(VcekId::of(&report(&[0xAB; 8], [0; 8]), Product::Milan), None);
        assert_eq!(VcekId::of(&report(&[0xAB; 8], [0; 8]), Product::Genoa), None);
    }

    #[test]
    fn a_reserved_tcb_byte_is_never_asked_for() {
        assert_eq!(VcekId::of(&report(&[0xAB; 64], [3, 0, 1, 0, 0, 0, 8, 115]), Product::Milan), None);
    }
}
