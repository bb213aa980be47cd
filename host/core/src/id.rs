/// A fresh random identifier: 32 hexadecimal digits, the form that MLflow clients expect of a run id.
pub fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
