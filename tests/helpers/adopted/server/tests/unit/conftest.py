import asyncio
import pytest
import pytest_asyncio
from app.server import Server
from ..broker import BrokerInfo, MosquittoBroker


@pytest.fixture(scope="session")
def broker_info():
    with MosquittoBroker() as b:
        yield BrokerInfo(b.host, b.port)


@pytest_asyncio.fixture
async def server(broker_info):
    srv = Server(host=broker_info.host, port=broker_info.port)
    await srv.start()
    await asyncio.sleep(0.5)
    yield srv
    await srv.stop()
