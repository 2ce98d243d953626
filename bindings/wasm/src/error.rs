//! Errors for JavaScript.

use js_sys::{Error, Reflect};
use wasm_bindgen::JsValue;

/// An `Error` whose `name` is the code of the error (`S3V_E_FORMAT`, ...), and whose `hint` says what to do.
pub(crate) fn to_js(error: &s3vault_core::Error) -> JsValue {
    let js = Error::new(error.message());
    js.set_name(error.code().info().name);
    // Setting a property of a new object cannot fail.
    let _ = Reflect::set(&js, &"hint".into(), &error.hint().into());
    js.into()
}
