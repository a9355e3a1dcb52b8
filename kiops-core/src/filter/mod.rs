//! stub
use serde::{Serialize,Deserialize};
/// x
#[derive(Debug,Clone,Default,PartialEq,Eq,Serialize,Deserialize)] #[serde(transparent)] pub struct RefFilter(Vec<String>);
/// x
#[derive(Debug,Clone,Default,PartialEq,Eq,Serialize,Deserialize)] #[serde(transparent)] pub struct TagFilter(Vec<String>);
/// x
#[derive(Debug,Clone,Default,PartialEq,Eq,Serialize,Deserialize)] #[serde(transparent)] pub struct PathFilter(Vec<String>);
/// x
pub enum PathVerdict<'a> { /// x
Matched{ /// x
pattern:&'a str, /// x
path:&'a str}, /// x
NotMatched, /// x
Unknown }
macro_rules! f { ($t:ident) => { impl $t { /// x
pub fn is_empty(&self)->bool{self.0.is_empty()} /// x
pub fn patterns(&self)->&[String]{&self.0} /// x
pub fn matched_by(&self, n:&str)->Option<&str>{self.0.iter().map(String::as_str).find(|p| *p==n||*p=="*")} } } }
f!(RefFilter); f!(TagFilter); f!(PathFilter);
impl PathFilter { /// x
pub fn verdict<'a>(&'a self,_f:&'a crate::event::ChangedFiles)->PathVerdict<'a>{PathVerdict::Unknown} }
