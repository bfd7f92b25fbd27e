//! The operator's demands on every guest, as arguments.

use anyhow::anyhow;
use keybroker_common::{
    appraisal::Fleet,
    requirements::{FloorError, TcbFloors},
};
use keybroker_snp::product::Product;

use crate::exit::{Exit, Failure};

/// The demands that every guest must meet, whatever its registration says.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Demands on every guest")]
pub(crate) struct FleetArgs {
    /// Accept reports signed with the VLEK of this cloud provider, named by its CSP id. By default no VLEK is
    /// accepted. May be given several times (in the variable: separated by `;`).
    #[arg(long, env = "KEYBROKER_ACCEPT_CSP_IDS", value_delimiter = ';', value_name = "ID")]
    pub(crate) accept_csp_id: Vec<String>,
    /// Accept only guests on this product. By default all products are accepted. May be given several times,
    /// to accept several (in the variable: separated by `;`).
    #[arg(
        long,
        env = "KEYBROKER_ACCEPT_PRODUCTS",
        value_delimiter = ';',
        value_parser = product,
        value_name = "milan|genoa|turin"
    )]
    accept_product: Vec<Product>,
    /// The least reported TCB for a product's guests, component by component:
    /// `milan:bl=4,tee=0,snp=22,ucode=213`; turin needs `fmc` as well. May be given once for each product (in
    /// the variable: separated by `;`).
    #[arg(
        long,
        env = "KEYBROKER_MINIMUM_TCB",
        value_delimiter = ';',
        value_parser = floor,
        value_name = "FLOOR"
    )]
    minimum_tcb: Vec<String>,
}

impl FleetArgs {
    /// The demands, if they are consistent.
    pub(crate) fn read(&self) -> Result<Fleet, Failure> {
        let mut minimum_tcb = TcbFloors::default();
        for floor in &self.minimum_tcb {
            let twice = |error| Failure::new(Exit::Usage, anyhow!("--minimum-tcb {floor:?} {error}"));
            minimum_tcb.add(floor).map_err(twice)?;
        }
        let products = match self.accept_product.as_slice() {
            [] => Product::ALL.to_vec(),
            named => named.to_vec(),
        };
        Ok(Fleet { products, minimum_tcb, accepted_csp_ids: self.accept_csp_id.clone() })
    }
}

fn product(name: &str) -> Result<Product, &'static str> {
    Product::parse(name).ok_or("must be milan, genoa or turin")
}

/// A floor, checked by itself.
fn floor(text: &str) -> Result<String, FloorError> {
    TcbFloors::default().add(text).map(|()| text.to_owned())
}
