package io.s3vault;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/** A proxy before the store that stops passing bytes after a limit, like a network that hangs. */
final class StallingProxy implements AutoCloseable {
    private final URI store = URI.create(System.getenv("S3VAULT_API_URL"));
    private final ServerSocket server = new ServerSocket(0, 50, InetAddress.getByName(store.getHost()));
    private final AtomicLong left = new AtomicLong(Long.MAX_VALUE);
    private final CountDownLatch closed = new CountDownLatch(1);
    private final List<Socket> sockets = new ArrayList<>();

    StallingProxy() throws IOException {
        start(this::accept);
    }

    /** Stops reading and writing after this many more bytes, counted over both directions. */
    void stallAfter(long bytes) {
        left.set(bytes);
    }

    String url() {
        return store.getScheme() + "://" + store.getHost() + ":" + server.getLocalPort();
    }

    private void accept() throws IOException {
        while (true) {
            Socket client = server.accept();
            int port = store.getPort() > 0 ? store.getPort() : store.getScheme().equals("https") ? 443 : 80;
            Socket upstream = new Socket(store.getHost(), port);
            synchronized (sockets) {
                sockets.add(client);
                sockets.add(upstream);
            }
            start(() -> pass(client, upstream));
            start(() -> pass(upstream, client));
        }
    }

    private void pass(Socket from, Socket to) throws IOException, InterruptedException {
        InputStream in = from.getInputStream();
        OutputStream out = to.getOutputStream();
        byte[] buffer = new byte[64 << 10];
        int count;
        while ((count = in.read(buffer)) > 0) {
            if (left.addAndGet(-count) < 0) {
                closed.await();
                return;
            }
            out.write(buffer, 0, count);
        }
        to.shutdownOutput();
    }

    @Override
    public void close() throws IOException {
        closed.countDown();
        server.close();
        synchronized (sockets) {
            for (Socket socket : sockets) {
                socket.close();
            }
        }
    }

    private interface Task {
        void run() throws IOException, InterruptedException;
    }

    private static void start(Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (IOException | InterruptedException e) {
                // one end closed the connection
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
