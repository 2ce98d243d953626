//! ListBuckets: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>

use crate::error::{Code, Error, Result};
use crate::http::{Method, ReplyBody};
use crate::op::{EmptyPages, Operation, Paged, Place, Reply, Unsigned};
use crate::time::parse_rfc3339;
use crate::xml::{self, Item};

/// Size limit of a page, in bytes: it has at most 10,000 buckets.
const PAGE_LIMIT: usize = 8 << 20;

/// Lists the buckets of the credentials' account.
#[derive(Clone, Debug, Default)]
pub struct ListBuckets {
    /// Prefix of the names to list. Stores that do not support it list all.
    pub prefix: String,
    /// Continuation token of the previous page.
    pub token: Option<String>,
    /// Most buckets per page; `None`: all in one page, if the store allows it.
    pub max_buckets: Option<u32>,
    /// The empty pages before this one: leave the default.
    pub empty: EmptyPages,
}

/// A bucket in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketEntry {
    /// Name of the bucket.
    pub name: String,
    /// Creation time in Unix milliseconds.
    pub created_ms: Option<i64>,
    /// Region, if the store names it.
    pub region: Option<String>,
}

/// One page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketList {
    /// The buckets in the store's order.
    pub buckets: Vec<BucketEntry>,
    /// Continuation token of the next page; `None` on the last.
    pub next: Option<String>,
}

impl Operation for ListBuckets {
    type Reply = BucketList;
    const NAME: &'static str = "ListBuckets";
    const ACTION: &'static str = "s3:ListAllMyBuckets";

    fn request(&self) -> Unsigned {
        let mut request = Unsigned::new(Method::Get, Place::Service);
        if !self.prefix.is_empty() {
            request = request.query("prefix", &*self.prefix);
        }
        if let Some(token) = &self.token {
            request = request.query("continuation-token", &**token);
        }
        if let Some(count) = self.max_buckets {
            request = request.query("max-buckets", count.to_string());
        }
        request.reply = ReplyBody::Collect { limit: PAGE_LIMIT };
        request
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<BucketList> {
        let mut page = BucketList::default();
        let mut bucket = BucketEntry::default();
        xml::read(&reply.body, "ListAllMyBucketsResult", |item| {
            match item {
                Item::Value("Bucket", "Name", text) => text.clone_into(&mut bucket.name),
                Item::Value("Bucket", "CreationDate", text) => bucket.created_ms = parse_rfc3339(text),
                Item::Value("Bucket", "BucketRegion", text) => bucket.region = Some(text.to_owned()),
                Item::End("Bucket") if bucket.name.is_empty() => {
                    return Err(Error::new(Code::BadReply, "a bucket in the list has no name"));
                }
                Item::End("Bucket") => page.buckets.push(std::mem::take(&mut bucket)),
                Item::Value("ListAllMyBucketsResult", "ContinuationToken", text) if !text.is_empty() => {
                    page.next = Some(text.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        if page.next.is_some() && page.next == self.token {
            return Err(Error::new(
                Code::BadReply,
                "the next page of the list of buckets is the same page: the list would never end",
            ));
        }
        if let Some(next) = page.next.as_ref().filter(|_| page.buckets.is_empty()) {
            self.empty.check(next)?;
        }
        Ok(page)
    }
}

impl Paged for ListBuckets {
    fn next(&self, page: &BucketList) -> Option<Self> {
        let token = page.next.clone()?;
        let empty = self.empty.after(page.buckets.is_empty(), &token);
        Some(ListBuckets { token: Some(token), empty, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, empty_pages_end, refused, sent};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PAGE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <ListAllMyBucketsResult><Buckets><Bucket><CreationDate>2019-12-11T23:32:47+00:00</CreationDate>\
        <Name>amzn-s3-demo-bucket</Name></Bucket><Bucket><CreationDate>2019-11-10T23:32:13+00:00</CreationDate>\
        <Name>amzn-s3-demo-bucket1</Name><BucketRegion>us-west-2</BucketRegion></Bucket></Buckets>\
        <Owner><DisplayName>Account+Name</DisplayName><ID>AIDACKCEVSQ6C2EXAMPLE</ID></Owner>\
        <ContinuationToken>eyJNYXJr</ContinuationToken></ListAllMyBucketsResult>";

    #[test]
    fn the_documented_example() {
        assert_eq!(sent(&ListBuckets::default()), "GET *\n");
        let first = ListBuckets { max_buckets: Some(2), ..Default::default() };
        let page = answer(&first, &[], PAGE).unwrap();
        let bucket = |name: &str, created_ms, region: Option<&str>| BucketEntry {
            name: name.into(),
            created_ms: Some(created_ms),
            region: region.map(str::to_owned),
        };
        assert_eq!(
            page.buckets,
            [
                bucket("amzn-s3-demo-bucket", 1_576_107_167_000, None),
                bucket("amzn-s3-demo-bucket1", 1_573_428_733_000, Some("us-west-2"))
            ]
        );
        let second = first.next(&page).unwrap();
        assert_eq!(sent(&second), "GET *?continuation-token=eyJNYXJr&max-buckets=2\n");
        assert_eq!(refused(&second, &[], PAGE), Some(Code::BadReply), "the same token again");
        assert!(second.next(&BucketList::default()).is_none());
    }
    #[test]
    fn a_list_of_empty_pages_ends() {
        empty_pages_end(&ListBuckets::default(), "<Buckets><Bucket><Name>b</Name></Bucket></Buckets>", |n, rows| {
            format!("<ListAllMyBucketsResult>{rows}<ContinuationToken>{n}</ContinuationToken></ListAllMyBucketsResult>")
        });
    }
}
