// minio-go as the bench runs it; the command line is that of every client (clients/src/lib.rs).
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

const (
	part          = 8 << 20
	parallel      = 8
	parallelSmall = 32
)

// The store's, where it is not the sink.
var (
	bucket    = setting("S3VAULT_BUCKET", "bench")
	accessKey = setting("S3VAULT_ACCESS_KEY", "bench")
	secretKey = setting("S3VAULT_SECRET_KEY", "bench-secret")
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("OPERATION URL CA_FILE|- PATH KEY are wanted"))
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func run(operation, address, ca, path, key string) error {
	client, err := open(address, ca)
	if err != nil {
		return err
	}
	ctx := context.Background()
	options := minio.PutObjectOptions{
		PartSize:             part,
		NumThreads:           parallel,
		DisableContentSha256: true,
	}
	get := minio.GetObjectOptions{}
	// 64 hex digits: SSE-C with this key.
	if digits := os.Getenv("MINIO_GO_SSE_C"); digits != "" {
		key, err := hex.DecodeString(digits)
		if err != nil {
			return err
		}
		customer, err := encrypt.NewSSEC(key)
		if err != nil {
			return err
		}
		options.ServerSideEncryption, get.ServerSideEncryption = customer, customer
	}
	switch operation {
	case "up-file":
		_, err = client.FPutObject(ctx, bucket, key, path, options)
	case "up-stream":
		// A file needs no buffers, and would get them too.
		options.ConcurrentStreamParts = true
		_, err = client.PutObject(ctx, bucket, key, onlyReader{os.Stdin}, -1, options)
	case "down-file":
		// One stream: FGetObject knows no ranges in parallel.
		err = client.FGetObject(ctx, bucket, key, path, get)
	case "down-pipe":
		var object *minio.Object
		if object, err = client.GetObject(ctx, bucket, key, get); err == nil {
			_, err = io.Copy(os.Stdout, object)
		}
	case "small":
		err = small(ctx, client, path, key, options)
	default:
		err = fmt.Errorf("'%s' is not known", operation)
	}
	return err
}

// onlyReader hides that a file could be read by position: a pipe cannot.
type onlyReader struct{ io.Reader }

func open(address, ca string) (*minio.Client, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	secure := parsed.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConnsPerHost = parallelSmall
	if secure {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return minio.New(parsed.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(accessKey, secretKey, ""),
		Secure:       secure,
		Region:       "us-east-1",
		BucketLookup: minio.BucketLookupPath,
		Transport:    http.RoundTripper(transport),
	})
}

func small(ctx context.Context, client *minio.Client, folder, prefix string, options minio.PutObjectOptions) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	names := make(chan string)
	var workers sync.WaitGroup
	for range parallelSmall {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for name := range names {
				_, err := client.FPutObject(ctx, bucket, prefix+"/"+name, filepath.Join(folder, name), options)
				if err != nil {
					fail(err)
				}
			}
		}()
	}
	for _, entry := range entries {
		names <- entry.Name()
	}
	close(names)
	workers.Wait()
	return nil
}
